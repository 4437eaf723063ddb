"""Directories of programs with users of their own, whose worker and shim were killed."""

import os
import subprocess
import tempfile

import pytest

from shared.settings import Settings
from tests.support.sandboxes import UIDS, holder, own_uids
from worker.cancellation import CancelToken
from worker.executors.program.accounts import give, lent_account
from worker.executors.program.workdirs import made_workdir, remove_left_workdirs


@pytest.fixture
def settings():
    holder("user")  # or the test is skipped
    return Settings(
        database_url="postgresql://",
        redis_url="redis://",
        structure_sandbox="user",
        structure_uid=own_uids(),
        structure_uids=UIDS,
    )


@pytest.fixture(autouse=True)
def temporary(
    settings, tmp_path, monkeypatch
):  # after the user ids are claimed: by files among the temporary
    """Of this user alone: nothing but the removal of what workers left looks into it."""
    tmp_path.chmod(0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def leave_one():
    """Be killed with a directory that a program's user has."""
    if (child := os.fork()) == 0:
        with made_workdir() as workdir, lent_account(own_uids(), 1, CancelToken()) as account:
            (workdir / "home").mkdir()
            give(account, workdir)
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_it_goes_with_the_next_start_of_a_worker(settings, temporary):
    leave_one()
    (left,) = temporary.iterdir()
    assert left.stat().st_uid == own_uids()
    remove_left_workdirs(settings)
    assert list(temporary.iterdir()) == []


def test_it_stays_while_another_program_has_the_user(settings, temporary):
    leave_one()
    with lent_account(own_uids(), 1, CancelToken()):
        remove_left_workdirs(settings)
    assert len(list(temporary.iterdir())) == 1


def test_what_its_user_still_executes_ends_before(settings, temporary):
    leave_one()
    process = subprocess.Popen(["/bin/sleep", "600"], user=own_uids(), group=own_uids(), cwd="/")
    try:
        remove_left_workdirs(settings)
        assert process.wait(30) < 0
    finally:
        process.kill()
    assert list(temporary.iterdir()) == []


def test_that_of_a_user_who_is_no_programs_stays(settings, temporary):
    leave_one()
    remove_left_workdirs(settings.model_copy(update={"structure_uid": own_uids() + 1}))
    assert len(list(temporary.iterdir())) == 1

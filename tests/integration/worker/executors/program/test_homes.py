"""Homes that stay: real programs, one after the other, of one organization and of another."""

import os
import sys
import textwrap
import threading
import uuid
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.support.sandboxes import claim_uids, holder, own_uids
from worker.cancellation import CancelToken
from worker.executors.base import InvalidConfigurationError
from worker.executors.program.accounts import Account
from worker.executors.program.homes import Home
from worker.executors.program.runner import Job, Limits, run_program
from worker.executors.program.shim import remove

LIMITS = Limits(
    memory=300_000_000,
    cpu=timedelta(seconds=5),
    file_size=1_000_000,
    processes=20,
    log_bytes=10_000,
    grace=timedelta(seconds=1),
)
BEES, WASPS = uuid.uuid4(), uuid.uuid4()
WRITE = """
    import os
    from pathlib import Path

    cache = Path.home() / ".cache" / "model"
    cache.mkdir(parents=True, exist_ok=True)
    (cache / "weights").write_text("heavy")
    os.chmod(cache / "weights", 0o600)
"""
READ = "from pathlib import Path\nprint((Path.home() / '.cache' / 'model' / 'weights').read_text())"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(params=["bubblewrap", "user", "none"])
def mode(request):
    return request.param


@pytest.fixture
def homes(tmp_path):
    return tmp_path / "homes"


@pytest.fixture
def run(tmp_path, mode, homes):
    def run(source, *, organization_id=BEES, write_lines=None, env=None, first_uid=None):
        lines = []
        workdir = tmp_path / uuid.uuid4().hex
        (workdir / "home").mkdir(parents=True)
        (workdir / "main.py").write_text(textwrap.dedent(source))
        held = replace(holder(mode), home=Home(homes, organization_id))
        ended = run_program(
            Job(
                ["main.py"],
                workdir,
                {"HOME": str(workdir / "home"), **(env or {})},
                {"PATH": os.environ["PATH"]},
            ),
            mark=uuid.uuid4().hex,
            holder=held if first_uid is None else replace(held, first_uid=first_uid),
            secrets={},
            workdir=workdir,
            limits=LIMITS,
            token=CancelToken(),
            write_lines=write_lines or lines.extend,
        )
        return ended.exit_code, [line.text for line in lines]

    return run


def test_what_a_program_leaves_in_its_home_is_there_for_the_next_one(run):
    """Also if that has another user id, and what is left is for its owner alone."""
    assert run(WRITE) == (0, [])
    assert run(READ, first_uid=own_uids() + 10) == (0, ["heavy"])


def test_another_organization_has_another_home_and_sees_nothing_of_it(run, homes, mode):
    run(WRITE)
    assert run(READ, organization_id=WASPS)[0] == 1
    if mode == "none":
        return  # which holds nothing
    look = f"""
        import os
        try:
            print(os.listdir({str(homes / str(BEES))!r}))
        except OSError as error:
            print(type(error).__name__)
        try:
            print(sorted(os.listdir({str(homes)!r})))
        except OSError as error:
            print(type(error).__name__)
    """
    _, (own, all_) = run(look, organization_id=WASPS)
    assert own in {"PermissionError", "FileNotFoundError"}
    assert all_ in {"PermissionError", "FileNotFoundError", f"['{WASPS}']"}


def test_a_home_that_a_killed_worker_left_to_a_user_id_is_taken_from_it(run, homes, mode):
    if not holder(mode).sandbox.has_accounts:
        pytest.skip("programs have no user ids of their own here")
    run(WRITE)
    left_to = claim_uids()  # no program has it: a home of one that lives on is not taken
    os.chown(homes / str(BEES), left_to, left_to)
    run("pass", organization_id=WASPS, first_uid=left_to)
    assert (homes / str(BEES)).stat().st_uid == 0


def test_no_link_in_a_home_leads_the_change_of_its_owner_elsewhere(run, tmp_path):
    ours = tmp_path / "ours"
    ours.mkdir(mode=0o755)
    (ours / "file").write_text("ours")
    before = (ours.stat().st_uid, (ours / "file").stat().st_uid)
    run(f"import os\nos.symlink({str(ours)!r}, os.path.expanduser('~/link'))")
    run("pass", first_uid=own_uids() + 10)
    assert (ours.stat().st_uid, (ours / "file").stat().st_uid) == before


def test_of_two_at_once_each_has_a_home_to_write_to(run, mode):
    """With user ids of their own, the second has one that goes with it; else they share."""
    has_begun, may_end = threading.Event(), threading.Event()
    said = []

    def wait(lines):
        said.extend(lines)
        has_begun.set()
        may_end.wait(30)

    first = threading.Thread(
        target=lambda: run(WRITE + "    print(os.environ['HOME'], flush=True)", write_lines=wait)
    )
    first.start()
    try:
        assert has_begun.wait(30)
        code, (home,) = run(WRITE + "    print(os.environ['HOME'])")
    finally:
        may_end.set()
        first.join(30)
    assert code == 0
    assert (home == said[0].text) is (not holder(mode).sandbox.has_accounts)


def test_packages_in_it_are_found(run):
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    run(f"""
        from pathlib import Path

        packages = Path.home() / ".local" / "lib" / "{version}" / "site-packages"
        packages.mkdir(parents=True)
        (packages / "honey.py").write_text("TASTE = 'sweet'")
    """)
    assert run("import honey\nprint(honey.TASTE)") == (0, ["sweet"])


def test_a_directory_of_homes_that_others_can_write_to_is_refused(run, homes):
    homes.mkdir()
    homes.chmod(0o777)
    with pytest.raises(InvalidConfigurationError, match="RUNYARD_STRUCTURE_HOME"):
        run("pass")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("is_there", [True, False], ids=["made by an operator", "made by the worker"])
def test_programs_reach_their_homes_although_new_files_are_for_root_alone(homes, is_there):
    mask = os.umask(0o077)
    try:
        if is_there:
            homes.mkdir()
        with Home(homes, BEES).lent(Account(own_uids(), -1)) as lent:
            assert homes.stat().st_mode & 0o777 == 0o711
            assert lent.path.stat().st_mode & 0o777 == 0o700
    finally:
        os.umask(mask)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_home_is_given_whole_however_deep_it_is(homes):
    """A program that nests its directories spoils its home for no later one."""
    home, uid = Home(homes, BEES), own_uids()
    (homes / str(BEES) / "beside").mkdir(parents=True)
    (homes / str(BEES) / "link").symlink_to("/")
    here = os.open(homes / str(BEES), os.O_RDONLY)
    for _ in range(3_000):
        os.mkdir("d", dir_fd=here)
        outer, here = here, os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(outer)
    try:
        with home.lent(Account(uid, here)) as lent:
            assert os.fstat(here).st_uid == uid
            owners = {(lent.path / name).lstat().st_uid for name in ("beside", "link", ".")}
            assert owners == {uid}
        assert lent.path.stat().st_uid == 0
    finally:
        os.close(here)
    remove(homes)

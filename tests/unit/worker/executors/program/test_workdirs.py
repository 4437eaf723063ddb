"""The directories of programs, and those of workers that were killed."""

import os
import tempfile

import pytest

from shared.settings import Settings
from worker.cancellation import RunStopped
from worker.executors.program import workdirs
from worker.executors.program.workdirs import made_workdir, remove_left_workdirs

SETTINGS = Settings(database_url="postgresql://", redis_url="redis://")


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_directory_goes_with_its_run(temporary):
    with made_workdir() as workdir:
        (workdir / "home").mkdir()
        remove_left_workdirs(SETTINGS)
        assert (workdir / "home").is_dir()
    assert list(temporary.iterdir()) == []


def test_what_a_worker_leaves_that_is_killed_while_it_prepares_a_run_goes_with_the_next_start(temporary):
    if (child := os.fork()) == 0:
        with made_workdir() as workdir:
            (workdir / "home" / "copied").mkdir(parents=True)
            os._exit(0)
    os.waitpid(child, 0)
    assert len(list(temporary.rglob("copied"))) == 1
    remove_left_workdirs(SETTINGS)
    assert list(temporary.iterdir()) == []


def test_a_worker_without_a_directory_for_temporary_files_starts(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", list)
    remove_left_workdirs(SETTINGS)


def test_what_a_run_leaves_that_is_interrupted_while_it_removes_is_an_orphan(temporary, monkeypatch):
    def interrupted(_path):
        raise RunStopped

    with monkeypatch.context() as patching:
        patching.setattr(workdirs, "remove", interrupted)
        with pytest.raises(RunStopped), made_workdir():
            pass
    assert len(list(temporary.iterdir())) == 1
    remove_left_workdirs(SETTINGS)
    assert list(temporary.iterdir()) == []

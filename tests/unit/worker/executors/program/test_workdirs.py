"""The directories of programs, and those of workers that were killed."""

import os
import tempfile

import pytest

from worker.executors.program.workdirs import made_workdir, remove_left_workdirs


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_directory_goes_with_its_run(temporary):
    with made_workdir() as workdir:
        (workdir / "home").mkdir()
        remove_left_workdirs()
        assert (workdir / "home").is_dir()
    assert list(temporary.iterdir()) == []


def test_what_a_worker_leaves_that_is_killed_while_it_prepares_a_run_goes_with_the_next_start(temporary):
    if (child := os.fork()) == 0:
        with made_workdir() as workdir:
            (workdir / "home" / "copied").mkdir(parents=True)
            os._exit(0)
    os.waitpid(child, 0)
    assert len(list(temporary.rglob("copied"))) == 1
    remove_left_workdirs()
    assert list(temporary.iterdir()) == []

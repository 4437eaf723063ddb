"""Directories that have an owner, and what is done with those whose owner is gone."""

import errno
import fcntl
import os
import shutil
import tempfile

import pytest
import structlog

from shared.processes import owned_directories
from shared.processes.owned_directories import OwnedDirectory, remove_orphans

PREFIX = "owned-"


@pytest.fixture
def own(tmp_path):
    made = []

    def own():
        made.append(OwnedDirectory.make(tmp_path, PREFIX))
        return made[-1].path

    yield own
    for one in made:
        one.let_go()


@pytest.fixture
def left(tmp_path):
    """Make a directory in a process that ends and leaves it; return its path."""

    def left():
        before = set(tmp_path.iterdir())
        if (child := os.fork()) == 0:
            code = 1
            try:
                (OwnedDirectory.make(tmp_path, PREFIX).path / "file").touch()
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        (path,) = set(tmp_path.iterdir()) - before
        return path

    return left


def remove_all(tmp_path, **options):
    with structlog.testing.capture_logs() as lines:
        remove_orphans(tmp_path, PREFIX, **options)
    return [line["directory"] for line in lines]


def test_what_has_an_owner_stays_and_what_has_none_is_removed(own, left, tmp_path):
    owned, orphans = own(), [left(), left()]
    assert remove_all(tmp_path) == []
    assert owned.is_dir()
    assert [path for path in orphans if path.exists()] == []


def test_nobody_but_its_user_reads_it(own):
    assert own().stat().st_mode & 0o777 == 0o700


def test_another_name_and_what_is_no_directory_stay(tmp_path):
    other, file, link = tmp_path / "other", tmp_path / f"{PREFIX}file", tmp_path / f"{PREFIX}link"
    other.mkdir()
    file.touch()
    link.symlink_to(other)
    remove_all(tmp_path)
    assert [path for path in (other, file, link) if not path.exists()] == []


def test_a_directory_of_another_user_stays(left, tmp_path, monkeypatch):
    path = left()
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    assert remove_all(tmp_path) == []
    assert path.exists()


def test_one_that_cannot_be_removed_is_told_and_keeps_no_other(left, tmp_path):
    odd, other = left(), left()

    def remove(path):
        if path == odd:
            raise PermissionError("not this one")
        shutil.rmtree(path)

    assert remove_all(tmp_path, remove=remove) == [str(odd)]
    assert (odd.exists(), other.exists()) == (True, False)


def test_whoever_removes_orphans_is_soon_done(left, tmp_path, monkeypatch):
    paths = [left(), left()]
    monkeypatch.setattr(owned_directories, "REMOVAL_TIME", -1)
    remove_all(tmp_path)
    assert all(path.exists() for path in paths)


def test_where_there_are_no_locks_one_is_made_all_the_same_and_none_is_removed(
    own, left, tmp_path, monkeypatch
):
    """Some file systems have none."""
    orphan = left()

    def refuse(*_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    paths = {own(), orphan}
    assert remove_all(tmp_path)
    assert set(tmp_path.iterdir()) == paths


@pytest.mark.parametrize("is_gone", [True, False])
def test_one_that_is_taken_for_an_orphan_while_it_is_made_is_made_anew(own, tmp_path, monkeypatch, is_gone):
    """It has no owner between its creation and its lock."""
    mkdtemp, removers = tempfile.mkdtemp, []

    def meet_a_remover(**options):
        path = mkdtemp(**options)
        if not removers:
            removers.append(owned_directories._locked(tmp_path / path))
            if is_gone:
                (tmp_path / path).rmdir()
        return path

    monkeypatch.setattr(tempfile, "mkdtemp", meet_a_remover)
    owned = own()
    (remover,) = removers
    os.close(remover)
    remove_all(tmp_path)
    assert list(tmp_path.iterdir()) == [owned]

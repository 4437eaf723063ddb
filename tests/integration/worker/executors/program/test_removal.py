"""What a program has left is removed, whatever it is."""

import os
from contextlib import contextmanager

import pytest

from worker.executors.program import shim

DEPTH = 5_000  # directories in each other: beyond a path's length, the stack, and usual open files


def nest(directory, depth=DEPTH):
    """Make directories in each other."""
    inner = os.open(directory, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=inner)
        outer, inner = inner, os.open("d", os.O_RDONLY, dir_fd=inner)
        os.close(outer)
    os.close(inner)


@pytest.fixture
def left(tmp_path):
    """A directory that a program has left; its own process no longer."""
    directory = tmp_path / "left"
    directory.mkdir()
    return directory


def test_directories_in_each_other_are_removed_however_many(left):
    nest(left)
    shim.remove(left)
    assert not left.exists()


def test_what_is_closed_is_removed_and_what_links_point_to_stays(left, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").touch()
    for folder in (left, closed := left / "closed", inner := closed / "inner"):
        folder.mkdir(exist_ok=True)
        (folder / "file").touch()
        (folder / "link").symlink_to(elsewhere)
        os.mkfifo(folder / "pipe")
    for directory in (inner, closed, left):
        directory.chmod(0)
    shim.remove(left)
    assert not left.exists()
    assert (elsewhere / "file").exists()
    assert (elsewhere.stat().st_mode & 0o777) != 0o700


def test_what_is_not_there_any_more_is_in_nobodys_way(left):
    """A sweep of its user's files has removed it: nothing is left to be told."""
    left.rmdir()
    shim.remove(left)


def test_a_link_where_the_directory_was_is_removed_and_not_followed(left, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").touch()
    elsewhere.chmod(0o755)
    left.rename(tmp_path / "moved")
    left.symlink_to(elsewhere)
    shim.remove(left)
    assert not left.is_symlink()
    assert elsewhere.stat().st_mode & 0o777 == 0o755
    assert (elsewhere / "file").exists()


def test_a_users_files_are_removed_though_somebody_elses_vanish_meanwhile(left, monkeypatch):
    """Else the next program with that user id could read them."""
    (left / "its").touch()
    (left / "vanishing").touch()
    nest(left)
    listing = os.scandir

    @contextmanager
    def after_a_while(path):
        with listing(path) as entries:
            found = list(entries)
        if path == str(left):
            (left / "vanishing").unlink(missing_ok=True)
        yield found

    monkeypatch.setattr(os, "scandir", after_a_while)
    monkeypatch.setattr(shim, "SHARED_DIRECTORIES", (str(left),))
    shim.sweep(os.geteuid())
    assert list(left.iterdir()) == []


def test_a_users_file_that_cannot_be_removed_keeps_no_other(left, monkeypatch):
    (left / "its").touch()
    (left / "held").touch()
    removal = os.unlink

    def refused(path, **options):
        if str(path).endswith("held"):
            raise PermissionError(path)
        removal(path, **options)

    monkeypatch.setattr(os, "unlink", refused)
    monkeypatch.setattr(shim, "SHARED_DIRECTORIES", (str(left),))
    shim.sweep(os.geteuid())
    assert list(left.iterdir()) == [left / "held"]

"""Directories of ours, for users that may and may not write there."""

import tempfile
from pathlib import Path

import pytest

from cli.local import private_files
from cli.local.private_files import UnwritableError, make_private_directory, scratch_directory


@pytest.fixture
def unwritable(tmp_path, monkeypatch):
    """A directory that this user cannot write to; root could, whatever its mode."""
    monkeypatch.setattr(private_files.os, "access", lambda path, _mode: Path(path) != tmp_path)
    return tmp_path


def test_a_directory_that_cannot_be_made_is_told_of_in_a_sentence():
    with pytest.raises(UnwritableError, match=r"The user \d+ cannot write to /proc/none .*--data-dir"):
        make_private_directory(Path("/proc/none"))


def test_one_that_is_there_and_another_s_is_too(unwritable):
    with pytest.raises(UnwritableError, match="exists, but is not writable"):
        make_private_directory(unwritable)


def test_what_passes_goes_elsewhere_then(unwritable, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("ours")
    assert scratch_directory(unwritable) == Path(tempfile.gettempdir())
    assert scratch_directory(elsewhere / "new") == elsewhere / "new"

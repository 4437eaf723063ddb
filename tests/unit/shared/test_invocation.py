"""How hints name the command."""

import sys

import pytest

from shared.processes.invocation import runyard


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A `runyard` in a folder of its own, which is called; nothing is on the path yet."""
    program = tmp_path / "my place" / "bin" / "runyard"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", [str(program)])
    monkeypatch.setenv("PATH", str(tmp_path / "elsewhere"))
    monkeypatch.chdir(tmp_path)
    return program


def test_a_command_that_is_on_the_path_goes_by_its_name(installed, monkeypatch):
    monkeypatch.setenv("PATH", str(installed.parent))
    assert runyard("dev") == "runyard dev"


def test_another_one_goes_by_where_it_is_from_here(installed, monkeypatch):
    assert runyard("dev") == "'my place/bin/runyard' dev"
    monkeypatch.chdir(installed.parent)
    assert runyard("dev") == "./runyard dev"


def test_one_that_is_far_from_here_goes_by_its_whole_path(installed, monkeypatch):
    monkeypatch.chdir("/usr")
    assert runyard("dev") == f"'{installed}' dev"

"""Where the peer cannot be installed, one line says why."""

import sys
from pathlib import Path

import pytest

from bench import peers
from bench.peers import PEER, NotHereError, find_python, installed


def test_an_interpreter_that_is_new_enough_is_taken(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(peers, "LEAST_PYTHON", sys.version_info[:2])
    assert find_python() == Path(sys.executable)


def test_without_a_python_for_it_the_peer_is_not_measured(monkeypatch: pytest.MonkeyPatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setattr(peers, "LEAST_PYTHON", (3, 99))
    monkeypatch.setattr(sys, "argv", ["peers"])
    monkeypatch.setattr(peers.signal, "signal", lambda *_: None)
    peers.main()
    assert capsys.readouterr().out == f"{PEER} is not measured: it needs Python 3.99, and none was found\n"


def test_an_installation_that_fails_says_its_reason(monkeypatch: pytest.MonkeyPatch, tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho first; echo 'no space left' >&2; exit 1\n")
    python.chmod(0o700)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(peers, "find_python", lambda: python)
    with pytest.raises(NotHereError, match="it cannot be installed: no space left"):
        installed()
    assert not (peers.HOME / "installed").exists()


def test_what_was_installed_is_used_again(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(peers, "find_python", lambda: pytest.fail("it looks for a Python"))
    peers.HOME.mkdir(parents=True)
    (peers.HOME / "installed").write_text(PEER)
    assert installed() == tmp_path / peers.HOME / "bin" / "python"

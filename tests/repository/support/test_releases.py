"""The release before this one, where the history of the checkout has it and where it does not."""

import pytest

from tests.support import releases


def test_a_checkout_without_its_history_skips_with_the_reason(monkeypatch, tmp_path):
    monkeypatch.setattr(releases, "PREVIOUS", "0" * 40)
    with pytest.raises(pytest.skip.Exception, match="the history here lacks the release before this one"):
        releases.unpack_previous(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_machine_without_git_skips_with_the_reason(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(pytest.skip.Exception, match="git is not installed"):
        releases.unpack_previous(tmp_path / "old")

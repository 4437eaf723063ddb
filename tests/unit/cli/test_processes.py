"""`runyard api`: what it hands to the processes of the API."""

import pytest
from typer.testing import CliRunner

from cli.commands import processes


@pytest.fixture
def started(monkeypatch):
    """Run `runyard api`; return its result and the settings that it sets."""
    become = []
    monkeypatch.setattr(processes, "_become", lambda *given: become.append(given))
    monkeypatch.delenv("RUNYARD_API_PROCESSES", raising=False)

    def started(*arguments):
        result = CliRunner().invoke(processes.api_app, arguments)
        return result, [environment.get("RUNYARD_API_PROCESSES") for _command, environment in become]

    return started


def test_the_number_of_processes_is_a_setting_of_theirs(started):
    assert started("--processes", "3")[1] == ["3"]


def test_without_a_number_the_environment_decides(started):
    assert started()[1] == [None]


@pytest.mark.parametrize("number", ["0", "-1", "65", "x"])
def test_a_number_that_makes_no_sense_is_refused(started, number):
    result, settings = started("--processes", number)
    assert result.exit_code == 2
    assert settings == []

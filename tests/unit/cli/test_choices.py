"""Choices on the command line are read in any case, and named as they are spelled."""

import re

import pytest
from typer.testing import CliRunner

from cli import main
from shared.lifecycle import Reason, RunStatus

CHOICES = [
    ("runs list --reason", list(Reason)),
    ("runs list --status", list(RunStatus)),
    ("health", ["api", "worker", "reconciler", "flower"]),
    ("cancel --all --status", ["QUEUED", "STARTING", "RUNNING"]),
    ("keys create --scope", ["read", "run", "admin"]),
    ("keys create --role", ["owner", "member"]),
    ("users create a@b.example --role", ["owner", "member"]),
    ("worker --pool", ["threads", "prefork"]),
]
NOWHERE = {
    "RUNYARD_DATABASE_URL": "postgresql://u:p@127.0.0.1:1/d",
    "RUNYARD_API_URL": "http://127.0.0.1:1",
    "RUNYARD_API_KEY": "ry_key",
    "COLUMNS": "400",
}


def said(*words):
    return CliRunner(env=NOWHERE).invoke(main.app, words)


@pytest.mark.parametrize(("words", "choices"), CHOICES)
def test_what_is_no_choice_is_told_the_real_ones(words, choices):
    answer = said(*words.split(), "nope")
    assert answer.exit_code == 2
    shown = " ".join(re.sub("[│╭╰─╮╯]", " ", answer.stderr).split())
    assert f"'nope' is not one of {', '.join(choices)}." in shown
    assert "Value error" not in shown


@pytest.mark.parametrize("spell", [str.upper, str.lower])
@pytest.mark.parametrize(("words", "choices"), [one for one in CHOICES if not one[0].startswith("worker")])
def test_a_choice_is_taken_in_any_case(words, choices, spell, monkeypatch):
    monkeypatch.setattr("cli.commands.health.WAIT", 0)
    assert said(*words.split(), spell(choices[-1])).exit_code != 2

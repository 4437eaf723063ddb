"""`runyard doctor`: what it prints and how it ends."""

import orjson
import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from cli import listing, main
from cli.doctor.diagnosis import Diagnosis
from cli.doctor.findings import Finding, Severity
from shared.errors import RunyardError

NOWHERE = "127.0.0.1:1"


@pytest.fixture
def doctor(committed_settings):
    """Call `runyard doctor` on the test's own servers: the exit code, and what it printed."""
    urls = {
        "RUNYARD_DATABASE_URL": committed_settings.database_url.get_secret_value(),
        "RUNYARD_REDIS_URL": committed_settings.redis_url.get_secret_value(),
    }

    def doctor(*options, **env):
        result = CliRunner(env={**urls, **env}).invoke(main.app, ["doctor", *options])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.stdout

    return doctor


@pytest.fixture
def broken(committed_engine, make_run):
    """Runs whose rows contradict their logs."""
    runs = [make_run() for _ in range(25)]
    with committed_engine.begin() as connection:
        connection.execute(text("UPDATE runs SET event_count = 7"))
    return [str(run.id) for run in runs]


def severities(stdout):
    return {finding["name"]: finding["severity"] for finding in orjson.loads(stdout)["findings"]}


def test_warnings_are_no_failure(doctor, monkeypatch):
    warning = Finding("Clock", Severity.WARNING, "PostgreSQL's is 9.0 s ahead.", "Set both by NTP.")
    monkeypatch.setattr("cli.commands.doctor.diagnose", lambda _settings, **_: Diagnosis([warning], []))
    code, printed = doctor()
    assert code == 0
    assert printed.splitlines()[-1] == "0 problems, 1 warning."
    assert "warning\tClock\t" in printed


def test_neither_workers_nor_a_reconciler_are_a_failure(doctor, make_run):
    make_run()
    code, printed = doctor()
    assert code == 3
    assert printed.splitlines()[-1] == "2 problems, 0 warnings."
    assert "problem\tWorkers\t" in printed
    assert "problem\tReconciler\t" in printed


def test_a_person_is_shown_a_table(doctor, monkeypatch):
    monkeypatch.setattr(listing, "is_terminal", lambda: True)
    _, printed = doctor()
    assert printed.split()[:4] == ["severity", "name", "seen", "advice"]


def test_a_violation_is_a_failure_and_named(doctor, broken):
    code, printed = doctor()
    assert code == 3
    assert printed.count("events_are_dense: run ") == 20
    assert "… and 5 more: --json lists them." in printed


def test_a_program_is_told_every_violation(doctor, broken):
    code, printed = doctor("--json")
    assert code == 3
    told = orjson.loads(printed)
    assert told["worst"] == "problem"
    assert {violation["run_id"] for violation in told["violations"]} == set(broken)
    assert set(told["violations"][0]) == {"name", "run_id", "message"}
    assert set(told["findings"][0]) == {"name", "severity", "seen", "advice"}


def test_a_database_that_is_away_is_a_failure_with_a_hint(doctor):
    code, printed = doctor(RUNYARD_DATABASE_URL=f"postgresql://u:secret@{NOWHERE}/d")
    assert code == 3
    assert "RUNYARD_DATABASE_URL" in printed
    assert "secret" not in printed


def test_a_redis_that_is_away_is_a_failure_and_the_database_is_looked_at(doctor):
    code, printed = doctor("--json", RUNYARD_REDIS_URL=f"redis://:secret@{NOWHERE}/0")
    assert code == 3
    assert "secret" not in printed
    assert severities(printed)["Redis"] == "problem"
    assert severities(printed)["Invariants"] == "ok"


def test_both_away_are_two_problems(doctor):
    code, printed = doctor(
        RUNYARD_DATABASE_URL=f"postgresql://{NOWHERE}/d", RUNYARD_REDIS_URL=f"redis://{NOWHERE}"
    )
    assert (code, printed.splitlines()[-1]) == (3, "2 problems, 0 warnings.")


def test_without_an_address_there_is_nothing_to_look_at(tmp_path):
    result = CliRunner().invoke(main.app, ["doctor", "--data-dir", str(tmp_path)])
    assert isinstance(result.exception, RunyardError)
    assert "RUNYARD_DATABASE_URL" in str(result.exception)

"""`runyard purge` and `runyard orgs retention`, on a real database."""

from datetime import timedelta

import orjson
import pytest
from sqlalchemy import func, select, update
from typer.testing import CliRunner

from cli import main
from shared.db import unit_of_work
from shared.lifecycle import RunStatus
from shared.models import Run, RunEvent, Thread
from shared.threads import service as threads


@pytest.fixture
def runyard(committed_settings):
    """Call the command line on the test's own database."""
    url = committed_settings.database_url.get_secret_value()
    runner = CliRunner(env={"RUNYARD_DATABASE_URL": url, "TERM": "dumb", "NO_COLOR": "1"})
    return lambda *arguments, answer=None: runner.invoke(main.app, list(arguments), input=answer)


@pytest.fixture
def old_runs(factories, committed_sessions):
    """Runs that ended 40 days ago, an active one of that age, and an idle thread."""
    factories.run(status=RunStatus.RUNNING)
    for _ in range(3):
        factories.run(status=RunStatus.SUCCEEDED)
    past = timedelta(days=40)
    with unit_of_work(committed_sessions) as session:
        threads.create(session, factories.default_principal(), {"name": "talk"})
        session.execute(
            update(Run).values(created_at=Run.created_at - past, completed_at=Run.completed_at - past)
        )
        session.execute(update(RunEvent).values(run_day=RunEvent.run_day - past.days))
        session.execute(update(Thread).values(created_at=func.now() - past, updated_at=func.now() - past))
    return factories.default_principal().organization_id


@pytest.fixture
def left(committed_sessions):
    """How many runs and threads there are."""

    def left():
        with committed_sessions() as session:
            return tuple(session.scalar(select(func.count()).select_from(table)) for table in (Run, Thread))

    return left


def test_a_dry_run_counts_and_deletes_nothing(runyard, old_runs, left):
    answer = runyard("purge", "--older-than", "30d", "--threads", "--dry-run", "--json")
    assert answer.exit_code == 0
    said = orjson.loads(answer.stdout)
    assert said["dry_run"] is True
    assert (said["found"]["runs"], said["found"]["threads"]) == (3, 1)
    assert said["found"]["events"] > 3
    assert said["found"]["bytes"] > 0
    assert set(said["deleted"].values()) == {0}
    assert left() == (4, 1)


def test_what_is_older_is_deleted_and_counted(runyard, old_runs, left):
    answer = runyard("purge", "--older-than", "30d", "--yes", "--json")
    said = orjson.loads(answer.stdout)
    assert answer.exit_code == 0
    assert said["deleted"] == said["found"]
    assert left() == (1, 1)  # threads are deleted only if they are asked for
    assert runyard("purge", "--older-than", "30d", "--threads", "--yes").exit_code == 0
    assert left() == (1, 0)
    nothing = runyard("purge", "--older-than", "30d")  # so that it does not ask
    assert nothing.exit_code == 0
    assert nothing.stdout.splitlines()[0] == "runs\t0\t0"


def test_what_is_younger_stays(runyard, old_runs, left):
    assert runyard("purge", "--older-than", "41d", "--threads", "--yes").exit_code == 0
    assert left() == (4, 1)


def test_nobody_who_does_not_confirm_deletes_anything(runyard, old_runs, left):
    answer = runyard("purge", "--older-than", "30d", answer="n\n")
    assert answer.exit_code == 1
    assert "3 runs" in answer.stderr
    assert left() == (4, 1)


@pytest.mark.parametrize("age", ["-1d", "0", "1m", "soon"])
def test_an_age_that_is_none_is_a_wrong_command_line(runyard, age):
    assert runyard("purge", "--older-than", age, "--yes").exit_code == 2


def test_an_organization_keeps_what_it_is_to_keep_unless_it_is_named(runyard, old_runs, left):
    organization = str(old_runs)
    shown = runyard("orgs", "retention", organization, "--runs", "keep", "--threads", "90d", "--json")
    (item,) = orjson.loads(shown.stdout)
    assert (item["runs"], item["threads"]) == ("keep", "90d")
    assert runyard("purge", "--older-than", "30d", "--threads", "--yes").exit_code == 0
    assert left() == (4, 1)
    command = ("purge", "--older-than", "30d", "--threads", "--yes", "--organization", organization)
    assert runyard(*command).exit_code == 0
    assert left() == (1, 0)


def test_the_retention_of_an_organization_is_shown_and_taken_back(runyard, old_runs):
    organization = str(old_runs)
    assert runyard("orgs", "retention", organization).stdout.split("\t")[2:] == ["default", "default\n"]
    assert runyard("orgs", "retention", organization, "--runs", "12h").stdout.split("\t")[2] == "12h"
    assert runyard("orgs", "retention", organization).stdout.split("\t")[2] == "12h"
    taken_back = runyard("orgs", "retention", organization, "--runs", "default")
    assert taken_back.stdout.split("\t")[2] == "default"
    assert runyard("orgs", "retention", organization, "--runs", "-1d").exit_code == 2

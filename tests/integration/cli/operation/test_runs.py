"""`runyard runs list` and `show`, on a real database: filters, parts, plans, and what they do not show."""

import json
import uuid
from datetime import timedelta

import pytest
from sqlalchemy import text, update
from typer.testing import CliRunner

from cli import main
from cli.database_sessions import DatabaseRefusedError
from cli.operation import reading as bounds
from cli.operation.reading import TooSlowError, reader, reading
from cli.operation.runs import RunQuery, SubjectNotFoundError, keys_of, list_runs, show_run
from shared.db import unit_of_work
from shared.errors import RunNotFoundError
from shared.lifecycle import Reason, RunStatus
from shared.models import Run


@pytest.fixture
def make_runs(sessions, make_run, make_principal, factories):
    """Make runs of two organizations, each a minute older than the last; return them, the newest first."""
    first, second = make_principal(organization="Ants"), make_principal(organization="Bees")
    made = [
        make_run(first, status=RunStatus.RUNNING),
        make_run(second, status=RunStatus.ERROR),
        make_run(first, status=RunStatus.SUCCEEDED),
        factories.structure_run(second, status=RunStatus.FAILED),
        make_run(first),
        make_run(second),
    ]
    with unit_of_work(sessions) as session:
        for minutes, run in enumerate(made):
            session.execute(
                update(Run)
                .where(Run.id == run.id)
                .values(created_at=Run.created_at - timedelta(minutes=minutes))
            )
    return made


@pytest.fixture
def listed(sessions):
    """The ids of the runs of one part."""

    def listed(limit=50, **filters):
        with sessions() as session:
            return [row["run_id"] for row in list_runs(session, RunQuery(limit, **filters)).rows]

    return listed


def test_the_runs_of_all_organizations_are_listed_the_newest_first(make_runs, listed):
    assert listed() == [run.id for run in make_runs]


def test_every_filter_leaves_the_runs_that_match(make_runs, listed):
    ids = [run.id for run in make_runs]
    ants, bees = make_runs[0].organization_id, make_runs[1].organization_id
    assert listed(organization_id=ants) == [ids[0], ids[2], ids[4]]
    assert listed(statuses=frozenset({RunStatus.ERROR, RunStatus.QUEUED})) == [ids[1], ids[4], ids[5]]
    assert listed(subject_id=make_runs[3].structure_id) == [ids[3]]
    assert listed(subject_id=make_runs[0].assistant_id) == [ids[0], ids[2], ids[4]]
    assert listed(newer_than=timedelta(seconds=150)) == ids[:3]
    assert listed(older_than=timedelta(seconds=150)) == ids[3:]
    assert listed(organization_id=bees, statuses=frozenset({RunStatus.QUEUED})) == [ids[5]]


def test_a_reason_is_found_whatever_the_status(make_runs, sessions, listed):
    lost = [make_runs[1].id, make_runs[4].id]
    with unit_of_work(sessions) as session:
        detail = {"reason": Reason.WORKER_LOST, "message": "gone"}
        session.execute(update(Run).where(Run.id.in_(lost)).values(status_detail=detail))
    assert listed(reason=Reason.WORKER_LOST) == lost
    assert listed(reason=Reason.WORKER_LOST, statuses=frozenset({RunStatus.QUEUED})) == lost[1:]
    assert listed(reason=Reason.WORKER_LOST, statuses=frozenset({RunStatus.SUCCEEDED})) == []


@pytest.mark.parametrize("reason", [Reason.COMPLETED, Reason.OUTPUT_TOO_LARGE])
def test_a_reason_of_success_is_found_among_succeeded_runs(reason, make_runs, sessions, listed):
    with unit_of_work(sessions) as session:
        detail = {"reason": reason, "message": ""}
        session.execute(update(Run).where(Run.id == make_runs[2].id).values(status_detail=detail))
    assert listed(reason=reason) == [make_runs[2].id]


def test_parts_follow_each_other_without_gap_and_without_repetition(make_runs, sessions):
    found, after = [], None
    for _ in range(4):
        with sessions() as session:
            part = list_runs(session, RunQuery(2, after=after))
        found += [row["run_id"] for row in part.rows]
        if not part.has_more:
            break
        after = found[-1]
    assert found == [run.id for run in make_runs]


def test_what_does_not_exist_is_said(make_runs, sessions):
    with sessions() as session:
        with pytest.raises(SubjectNotFoundError):
            list_runs(session, RunQuery(1, subject_id=uuid.uuid4()))
        with pytest.raises(SubjectNotFoundError):  # it is another organization's
            ants = make_runs[0]
            bees = make_runs[1].organization_id
            list_runs(session, RunQuery(1, subject_id=ants.assistant_id, organization_id=bees))
        with pytest.raises(RunNotFoundError):
            list_runs(session, RunQuery(1, after=uuid.uuid4()))
        with pytest.raises(RunNotFoundError):
            show_run(session, uuid.uuid4())


def nodes(plan):
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"statuses": frozenset({RunStatus.FAILED})},
        {"statuses": frozenset({RunStatus.FAILED, RunStatus.ERROR}), "reason": Reason.WORKER_LOST},
        {"reason": Reason.WORKER_LOST},
        {"reason": Reason.COMPLETED},
        {"reason": Reason.WORKER_LOST, "subject_id": "assistant"},
        {"newer_than": timedelta(hours=1)},
        {"subject_id": "assistant"},
        {"subject_id": "assistant", "statuses": frozenset({RunStatus.FAILED})},
        {"after": "run"},
    ],
)
def test_every_list_is_read_from_an_index_in_its_order(filters, make_runs, sessions):
    """Of few rows a scan is cheaper. So scans and sorts are made dear: they stay where no index helps."""
    real = {"assistant": make_runs[0].assistant_id, "run": make_runs[2].id}
    given = {name: real.get(str(value), value) for name, value in filters.items()}
    with sessions() as session:
        session.execute(text("SET LOCAL enable_seqscan = off"))
        session.execute(text("SET LOCAL enable_bitmapscan = off"))
        session.execute(text("SET LOCAL enable_sort = off"))
        statement = keys_of(session, RunQuery(20, **given))
        compiled = statement.compile(session.connection())
        plan = (
            session.connection()
            .exec_driver_sql(f"EXPLAIN (FORMAT JSON) {compiled}", compiled.construct_params())
            .scalar()
        )
    found = list(nodes(plan[0]["Plan"]))
    scans = [node for node in found if node.get("Relation Name") == "runs"]
    assert scans
    for scan in scans:
        assert scan["Node Type"] in {"Index Scan", "Index Only Scan"}, scan
        assert scan["Index Name"].startswith("ix_runs_"), scan
        assert "organization_id" in scan["Index Cond"], scan
        if filters.keys() == {"reason"} and filters["reason"] != Reason.COMPLETED:
            assert "reason" in scan["Index Cond"], scan
    for node in found:
        if node["Node Type"] == "Sort":  # only of the merged heads: never of all runs of a list
            assert "runs" not in {below.get("Relation Name") for below in node.get("Plans", ())}, node


def test_nothing_is_shown_of_what_a_caller_sent_or_got(sessions, make_run):
    secret = "between us"
    run = make_run(status=RunStatus.SUCCEEDED, input=secret, args=[secret])
    with sessions() as session:
        facts = show_run(session, run.id)
    assert facts["status"] is RunStatus.SUCCEEDED
    assert [event["seq"] for event in facts["last_events"]] == list(range(facts["event_count"]))
    assert secret not in repr(facts)
    assert "Hello" not in repr(facts)  # the answer


@pytest.fixture
def runyard(committed_settings):
    """Call the command line on the test's own database."""
    runner = CliRunner(env={"RUNYARD_DATABASE_URL": committed_settings.database_url.get_secret_value()})

    def runyard(*words):
        return runner.invoke(main.app, ["runs", *map(str, words)])

    return runyard


def test_the_command_lists_shows_and_says_how_to_go_on(runyard, make_run, committed_sessions):
    del committed_sessions
    runs = [make_run() for _ in range(3)]
    answer = runyard("list", "--limit", "2", "--status", "queued", "--json")
    assert answer.exit_code == 0, answer.output
    part = json.loads(answer.stdout)
    assert len(part["runs"]) == 2
    assert part["next"] == part["runs"][-1]["run_id"]
    rest = json.loads(runyard("list", "--after", part["next"], "--json").stdout)
    assert rest["next"] is None
    assert {run["run_id"] for run in [*part["runs"], *rest["runs"]]} == {str(run.id) for run in runs}

    said = runyard("list", "--limit", "1")
    assert len(said.stdout.splitlines()) == 1
    assert f"--after {said.stdout.split()[0]}" in said.stderr

    shown = runyard("show", runs[0].id)
    assert shown.exit_code == 0, shown.output
    assert "status: QUEUED" in shown.stdout.splitlines()
    assert json.loads(runyard("show", runs[0].id, "--json").stdout)["run_id"] == str(runs[0].id)


def test_escapes_in_the_texts_of_tenants_are_shown_and_not_obeyed(
    runyard, make_run, make_assistant, committed_sessions
):
    evil = "\x1b]0;owned\x07\x1b[2J"
    assistant = make_assistant(name=f"a{evil}")
    run = make_run(assistant=assistant)
    with unit_of_work(committed_sessions) as session:
        detail = {"reason": "Cancelled", "message": f"b{evil}", f"c{evil}": [f"d{evil}"]}
        session.execute(update(Run).where(Run.id == run.id).values(status_detail=detail))
    for words in (["list"], ["list", "--json"], ["show", run.id], ["show", run.id, "--json"]):
        answer = runyard(*words)
        assert answer.exit_code == 0, answer.output
        assert "\x1b" not in answer.output
        assert "\x07" not in answer.output
        assert "owned" in answer.output


@pytest.mark.parametrize(
    "words",
    [
        ["list", "--status", "LOST"],
        ["list", "--reason", "Boredom"],
        ["list", "--limit", "0"],
        ["list", "--limit", "1001"],
        ["list", "--newer-than", "soon"],
        ["list", "--newer-than", "-5m"],
        ["list", "--older-than", "9999999d"],
        ["list", "--assistant", "nonsense"],
        ["show", "nonsense"],
    ],
)
def test_a_wrong_option_is_a_usage_error(words):
    env = {"RUNYARD_DATABASE_URL": "postgresql://u:p@127.0.0.1:1/d"}
    assert CliRunner(env=env).invoke(main.app, ["runs", *words]).exit_code == 2


def test_an_outage_is_one_sentence():
    env = {"RUNYARD_DATABASE_URL": "postgresql://u:p@127.0.0.1:1/d"}
    answer = CliRunner(env=env).invoke(main.app, ["runs", "list"])
    assert isinstance(answer.exception, DatabaseRefusedError)
    assert "Connection refused" in str(answer.exception)


def test_a_statement_is_bounded_in_time_and_writes_nothing(settings, monkeypatch):
    monkeypatch.setattr(bounds, "STATEMENT_TIMEOUT", timedelta(milliseconds=50))
    with reader(settings) as engine:
        with pytest.raises(TooSlowError), reading(engine) as session:
            session.execute(text("SELECT pg_sleep(30)"))
        with pytest.raises(DatabaseRefusedError, match="read-only"), reading(engine) as session:
            session.execute(text("DELETE FROM runs"))

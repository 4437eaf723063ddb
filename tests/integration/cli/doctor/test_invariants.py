"""Each invariant: a healthy database keeps it, and a row that breaks it is found, alone."""

import uuid

import pytest
from sqlalchemy import text

from cli.doctor import invariants
from cli.doctor.invariants import RULES, Violation, check
from shared.db import make_engine, unit_of_work
from shared.lifecycle import EventType, Reason, RunStatus, StatusDetail, StoppedHow, Trigger
from shared.runs import moves, receipts, transitions
from tests.support.dispatching import RecordingDispatcher

S = RunStatus


@pytest.fixture
def violations(sessions):
    """What does not hold, each rule with its run."""

    def violations():
        with sessions() as session:
            return [(violation.name, violation.run_id) for violation in check(session)]

    return violations


@pytest.fixture(scope="module")
def engine(services, database_url):
    """A superuser's connections: our own role could not break what is to be found broken."""
    name = database_url.rpartition("/")[2]
    engine = make_engine(services.settings(database_url=services.postgres.database_url(name)))
    yield engine
    engine.dispose()


@pytest.fixture
def execute(sessions):
    """Do what no code of ours would do to the database; it is rolled back with the test."""

    def execute(*statements, **values):
        with unit_of_work(sessions) as session:
            for statement in statements:
                session.execute(text(statement), values)

    return execute


@pytest.fixture
def succeed_on_thread(sessions, make_run):
    """A run that has answered on a thread, by the use case, with its message."""

    def succeed_on_thread():
        run = make_run(status=S.RUNNING, new_thread=True)
        answer = {"type": "TextArtifact", "value": "Hello"}
        with unit_of_work(sessions) as session:
            detail = StatusDetail(Reason.COMPLETED, "The assistant answered.")
            done = {"prompt": "Hello", "output": answer, "detail": detail}
            return moves.succeed(session, RecordingDispatcher(), run.id, attempt=1, **done)

    return succeed_on_thread


def add_event(run, *, seq, kind=EventType.ASSISTANT_COMPLETED, status=None):
    """SQL for one more event of a run, and its number with it."""
    payload = f'{{"status": "{status or run.status}"}}'
    return (
        "INSERT INTO run_events (run_id, seq, event_id, origin, type, payload, timestamp)"
        f" VALUES ('{run.id}', {seq}, '{uuid.uuid4()}', 'SYSTEM', '{kind}', '{payload}', 0)".replace(
            ":", r"\:"
        ),
        f"UPDATE runs SET event_count = event_count + 1 WHERE id = '{run.id}'",
    )


def test_a_database_without_runs_has_nothing_wrong(violations):
    assert violations() == []


def test_runs_in_every_status_have_nothing_wrong(violations, make_run, succeed_on_thread, sessions):
    for status in S:
        make_run(status=status)
    talk = succeed_on_thread()
    make_run(thread_id=talk.thread_id)
    make_run(thread_id=talk.thread_id)
    stopping, stopped = make_run(status=S.RUNNING), make_run(status=S.RUNNING)
    with unit_of_work(sessions) as session:
        for run in (stopping, stopped):
            detail = receipts.cancel_detail(requested_by="ada")
            transitions.apply(session, run.id, Trigger.CANCEL, detail=detail)
        receipts.record_stop(session, stopped.id, StoppedHow.COOPERATIVE, attempt=1)
    requeued = make_run(status=S.STARTING)
    with unit_of_work(sessions) as session:
        transitions.apply(session, requeued.id, Trigger.REQUEUE, attempt=1)
    assert violations() == []


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM run_events WHERE run_id = :id AND seq = 0",
        "DELETE FROM run_events WHERE run_id = :id AND seq = 1",
        "UPDATE run_events SET seq = seq + 5 WHERE run_id = :id AND seq = 2",
        "UPDATE runs SET event_count = event_count + 1 WHERE id = :id",
        "UPDATE runs SET event_count = event_count - 1 WHERE id = :id",
        "UPDATE runs SET event_count = 0 WHERE id = :id",
        "DELETE FROM run_events WHERE run_id = :id",
    ],
)
def test_a_hole_in_the_log_is_found(violations, execute, make_run, damage):
    make_run(status=S.RUNNING)
    run = make_run(status=S.RUNNING)
    execute(damage, id=run.id)
    assert violations() == [("events_are_dense", run.id)]


def test_a_log_that_begins_late_is_found(violations, execute, make_run):
    run = make_run(status=S.RUNNING)
    execute("UPDATE run_events SET seq = seq + 3 WHERE run_id = :id AND seq = 0", id=run.id)
    assert violations() == [("events_are_dense", run.id)]


@pytest.mark.parametrize("status", [S.SUCCEEDED, S.FAILED, S.ERROR, S.CANCELLED])
def test_an_end_without_its_event_is_found(violations, execute, make_run, status):
    run = make_run(status=status)
    execute(
        "UPDATE run_events SET type = 'Other' WHERE run_id = :id AND type = :kind",
        id=run.id,
        kind=EventType.ASSISTANT_COMPLETED,
    )
    assert violations() == [("one_end", run.id)]


def test_two_ends_are_found(violations, execute, make_run):
    run = make_run(status=S.SUCCEEDED)
    execute("DROP INDEX uq_run_events_completed", *add_event(run, seq=run.event_count))
    assert violations() == [("one_end", run.id)]


@pytest.mark.parametrize("status", [S.SUCCEEDED, S.CANCELLED])
def test_an_end_without_its_answer_is_found(violations, execute, make_run, status):
    run = make_run(status=status)
    execute(
        "UPDATE run_events SET type = 'Other' WHERE run_id = :id AND type = 'FinishStructureRunEvent'",
        id=run.id,
    )
    assert violations() == [("one_answer", run.id)]


def test_an_event_after_the_end_is_found(violations, execute, make_run):
    run = make_run(status=S.FAILED)
    execute(*add_event(run, seq=run.event_count, kind="TextChunkEvent"))
    assert violations() == [("end_is_last", run.id)]


@pytest.mark.parametrize("payload", ['{"status": "FAILED"}', "{}", '{"status": null}'])
def test_an_end_that_tells_another_status_is_found(violations, execute, make_run, payload):
    run = make_run(status=S.SUCCEEDED)
    execute(
        "UPDATE run_events SET payload = CAST(:payload AS jsonb) WHERE run_id = :id AND type = :kind",
        id=run.id,
        kind=EventType.ASSISTANT_COMPLETED,
        payload=payload,
    )
    assert violations() == [("end_tells_status", run.id)]


@pytest.mark.parametrize("status", [S.QUEUED, S.STARTING, S.RUNNING])
def test_an_end_of_a_run_that_goes_on_is_found(violations, execute, make_run, status):
    run = make_run(status=status)
    execute(*add_event(run, seq=run.event_count))
    assert violations() == [("no_end_before_its_time", run.id)]


@pytest.mark.parametrize(("status", "value"), [(S.ERROR, "NULL"), (S.RUNNING, "now()")])
def test_an_end_at_no_time_is_found(violations, execute, make_run, status, value):
    run = make_run(status=status)
    execute(
        "ALTER TABLE runs DROP CONSTRAINT ck_runs_one_end",
        f"UPDATE runs SET completed_at = {value} WHERE id = :id",
        id=run.id,
    )
    assert violations() == [("completed_at", run.id)]


def test_two_runs_on_one_thread_at_once_are_found(violations, execute, make_run):
    first = make_run(status=S.RUNNING, new_thread=True)
    second = make_run(status=S.STARTING)
    execute(
        "DROP INDEX uq_runs_thread",
        "UPDATE runs SET thread_id = :thread, created_at = created_at + interval '1 second' WHERE id = :id",
        id=second.id,
        thread=first.thread_id,
    )
    assert violations() == [("one_run_per_thread", first.id)]


def test_a_message_of_a_run_that_did_not_succeed_is_found(violations, execute, succeed_on_thread, make_run):
    talk = succeed_on_thread()
    failed = make_run(thread_id=talk.thread_id, status=S.FAILED)
    execute(
        "UPDATE messages SET metadata = jsonb_build_object('run_id', CAST(:hex AS text))", hex=failed.id.hex
    )
    assert violations() == [("message_of_a_success", failed.id)]


def test_a_message_that_is_there_twice_is_found(violations, execute, succeed_on_thread):
    talk = succeed_on_thread()
    execute(
        "INSERT INTO messages (id, thread_id, index, input, output, metadata, created_by)"
        " SELECT gen_random_uuid(), thread_id, 1, input, output, metadata, created_by FROM messages"
    )
    assert violations() == [("message_of_a_success", talk.id)]


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM messages",
        "UPDATE messages SET metadata = '{}'",
        """UPDATE messages SET metadata = '{"run_id": "of their own"}'""",
    ],
)
def test_what_callers_do_to_messages_is_no_violation(violations, execute, succeed_on_thread, statement):
    succeed_on_thread()
    execute(statement.replace(":", r"\:"))
    assert violations() == []


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("UPDATE run_tallies SET runs = runs + 1", "has 1 runs FAILED; the tallies say 2"),
        ("DELETE FROM run_tallies", "has 1 runs FAILED; the tallies say 0"),
    ],
)
def test_a_tally_that_is_off_is_found(sessions, violations, execute, make_run, damage, said):
    run = make_run(status=S.FAILED)
    execute(damage)
    with sessions() as session:
        assert check(session) == [
            Violation("tallies_agree", None, f"assistant or structure {run.subject_id} {said}")
        ]


def test_a_tally_with_other_bytes_is_found(sessions, violations, execute, make_run):
    run = make_run(status=S.FAILED)
    size = run.stored_bytes
    execute("UPDATE run_tallies SET bytes = bytes + 7")
    with sessions() as session:
        said = f"has {size} bytes in runs FAILED; the tallies say {size + 7}"
        assert check(session) == [
            Violation("tallied_bytes_agree", None, f"assistant or structure {run.subject_id} {said}")
        ]


def test_a_tally_of_no_run_is_found(violations, execute, make_run):
    make_run(status=S.FAILED)
    execute(
        "ALTER TABLE runs DISABLE TRIGGER tally_deleted",
        "DELETE FROM run_events",
        "DELETE FROM runs",
    )
    assert violations() == [("tallies_agree", None)]


@pytest.mark.parametrize("key", ["requested_at", "requested_by", "stopped_at", "stopped_how"])
def test_a_cancel_without_its_receipt_is_found(violations, execute, make_run, key):
    run = make_run(status=S.CANCELLED)
    execute("UPDATE runs SET status_detail = status_detail - CAST(:key AS text)", key=key)
    assert violations() == [("cancel_has_a_receipt", run.id)]


def test_a_receipt_of_a_stop_while_it_is_stopping_is_found(violations, execute, make_run):
    run = make_run(status=S.CANCELLED)
    execute("UPDATE runs SET is_stopping = true, lease_expires_at = now()")
    assert violations() == [("cancel_has_a_receipt", run.id)]


def test_a_violation_is_one_line(sessions, execute, make_run):
    run = make_run()
    execute("UPDATE runs SET event_count = 3")
    with sessions() as session:
        (violation,) = check(session)
    assert str(violation) == f"events_are_dense: run {run.id} has 1 events, from 0 to 0; its event_count is 3"


def test_no_more_than_the_limit_are_named(sessions, execute, make_run, monkeypatch):
    for _ in range(3):
        make_run()
    execute("UPDATE runs SET event_count = 3")
    monkeypatch.setattr(invariants, "LIMIT", 2)
    with sessions() as session:
        assert len(check(session)) == 2


def test_every_rule_has_a_name_of_its_own():
    assert len({rule.name for rule in RULES}) == len(RULES)


def test_the_check_changes_nothing(sessions, make_run):
    make_run(status=S.SUCCEEDED)
    with sessions() as session:
        session.execute(text("SET TRANSACTION READ ONLY"))
        assert check(session) == []

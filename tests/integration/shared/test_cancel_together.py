"""Cancels of many runs in one statement: each run ends like one that is cancelled alone."""

import uuid

import pytest
from sqlalchemy import inspect, select, text, update

from shared.db import unit_of_work
from shared.lifecycle import RunStatus
from shared.models import RUNS, Run, RunEvent
from shared.runs import moves, service
from shared.runs.together import TOGETHER_BYTES, Cancel
from tests.support.dispatching import RecordingDispatcher
from tests.support.listening import listen

NAME = 'Ann "the\u2028operator"'
OWN = {"id", "created_at", "updated_at", "queued_at", "dispatched_at", "started_at", "completed_at"}
OWN |= {"lease_expires_at", "status_detail"}
"""The columns in which two runs of the same request differ; the receipts are compared without their times."""


@pytest.fixture
def principal(factories):
    return factories.default_principal()


@pytest.fixture
def cancelled(committed_sessions, dispatcher):
    """Cancel runs in a transaction of their own."""

    def cancelled(*cancels, dispatcher=dispatcher):
        with unit_of_work(committed_sessions) as session:
            return service.cancel_together(session, dispatcher, cancels)

    return cancelled


def cancel(run, organization_id=None):
    return Cancel(run.id, organization_id or run.organization_id, NAME)


def stored(session, run_id):
    """The rows of a run, without what is its own."""
    run = session.get_one(Run, run_id)
    events = session.scalars(select(RunEvent).where(RunEvent.run_id == run_id).order_by(RunEvent.seq)).all()
    names = {attribute.key for attribute in inspect(Run).column_attrs} - OWN
    assert run.completed_at.isoformat()[:23] == run.status_detail["requested_at"][:23]
    return (
        {name: getattr(run, name) for name in sorted(names)},
        without_times(run.status_detail),
        [(event.seq, event.attempt, event.type, without_times(event.payload)) for event in events],
    )


def without_times(value):
    """A payload whose instants and ids only say whether they are there."""
    if isinstance(value, dict):
        own = ("_at", "id", "timestamp", *(["name"] if "type" in value else []))  # an artifact's is random
        return {
            key: item is not None if key.endswith(own) else without_times(item) for key, item in value.items()
        }
    return value


def status_of(sessions, run_id):
    with sessions() as session:
        return session.get_one(Run, run_id).status


@pytest.mark.parametrize("status", [RunStatus.QUEUED, RunStatus.STARTING, RunStatus.RUNNING])
def test_a_run_ends_as_one_that_is_cancelled_alone(
    cancelled, committed_sessions, make_run, dispatcher, status
):
    run, other = make_run(status=status), make_run(status=status)
    dispatcher.announced.clear()
    dispatcher.told.clear()
    alone = RecordingDispatcher()
    with unit_of_work(committed_sessions) as session:
        moves.cancel(session, alone, other.id, requested_by=NAME)
    (answered,) = cancelled(cancel(run))
    assert (answered.status, answered.is_stopping) == (RunStatus.CANCELLED, status is not RunStatus.QUEUED)
    with committed_sessions() as session:
        assert stored(session, run.id) == stored(session, other.id)
    assert dispatcher.revoked == [(run.id, 1)]
    assert alone.revoked == [(other.id, 1)]
    assert [event.seq for event in dispatcher.announced] == [event.seq for event in alone.announced]
    assert [event.type for event in dispatcher.told] == [event.type for event in alone.told]


def test_any_number_of_runs_is_two_statements_in_one_transaction(cancelled, committed_engine, make_run):
    runs = [make_run(status=RunStatus.RUNNING) for _ in range(20)]
    cancelled(cancel(make_run()))
    said = []
    listen(committed_engine, "before_cursor_execute", lambda *given: said.append(given[2].split()[0]))
    listen(committed_engine, "commit", lambda _connection: said.append("COMMIT"))
    assert [run.id for run in cancelled(*map(cancel, runs))] == [run.id for run in runs]
    assert said == ["WITH", "INSERT", "COMMIT"]


def test_two_wishes_for_a_run_are_one_cancel(cancelled, make_run, dispatcher):
    run = make_run()
    first, second = cancelled(cancel(run), cancel(run))
    assert first.id == second.id == run.id
    assert dispatcher.revoked == [(run.id, 1)]


def test_nobody_cancels_or_sees_anothers_run(cancelled, committed_sessions, factories, make_run):
    stranger = factories.principal(organization="elsewhere", email="b@elsewhere.example")
    run, left = make_run(), make_run()
    own, theirs, unknown = cancelled(
        cancel(run), cancel(run, stranger.organization_id), Cancel(uuid.uuid4(), run.organization_id, NAME)
    )
    assert own.id == run.id
    assert (theirs, unknown) == (None, None)
    assert cancelled(cancel(left, stranger.organization_id)) == [None]
    assert status_of(committed_sessions, left.id) is RunStatus.QUEUED


def test_a_run_that_is_large_or_of_which_a_cancel_concerns_more_is_left_to_the_cancel_of_one(
    cancelled, committed_sessions, factories, make_run, make_assistant
):
    with_tools = make_run(assistant=make_assistant(structure_ids=[factories.structure().id]))
    others = [
        with_tools,
        factories.structure_run(),
        make_run(new_thread=True),
        make_run(args=["ab"] * (TOGETHER_BYTES // 4)),
        make_run(status=RunStatus.SUCCEEDED),
    ]
    before = [status_of(committed_sessions, run.id) for run in others]
    assert cancelled(*map(cancel, others)) == [None] * len(others)
    assert [status_of(committed_sessions, run.id) for run in others] == before


def test_a_run_that_somebody_holds_keeps_no_other_waiting(cancelled, committed_sessions, make_run):
    held, free = make_run(status=RunStatus.RUNNING), make_run(status=RunStatus.RUNNING)
    with unit_of_work(committed_sessions) as session:
        session.execute(update(Run).where(Run.id == held.id).values(log_count=Run.log_count))
        left, done = cancelled(cancel(held), cancel(free))
    assert left is None
    assert done.id == free.id


def test_with_shares_a_cancel_makes_room_for_the_next(cancelled, committed_sessions, make_run, principal):
    sharing = RecordingDispatcher(share=1)
    first = make_run(principal)
    waiting = make_run(principal)
    with unit_of_work(committed_sessions) as session:
        session.execute(update(Run).where(Run.id == waiting.id).values(dispatched_at=None))
    cancelled(cancel(first), dispatcher=sharing)
    assert sharing.enqueued == [(waiting.id, 1)]


def test_no_table_that_grows_is_read_whole(cancelled, committed_engine, make_run):
    run = make_run()
    names = [column.name for column in RUNS.columns if column.name != "id" and column.computed is None]
    many = f"""
        INSERT INTO runs (id, {", ".join(names)})
            SELECT gen_random_uuid(), {", ".join(names)} FROM runs, generate_series(1, 20000);
    """
    said = []
    listen(committed_engine, "before_cursor_execute", lambda *given: said.append(given[2:4]))
    cancelled(cancel(run))
    statement, parameters = said[0]
    with committed_engine.begin() as connection:
        connection.execute(text(many))
        connection.execute(text("ANALYZE runs"))
        plan = connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars().all()
    assert [line for line in plan if "Seq Scan on runs" in line] == []
    assert [line for line in plan if "Index Cond: (id = given.run_id)" in line], plan

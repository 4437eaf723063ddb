"""What is wrong with one run of a batch concerns no other run."""

import threading

import pytest
from sqlalchemy import select

from shared.db import unit_of_work
from shared.events.log import Batch
from shared.lifecycle import Reason, RunStatus
from shared.models import Run
from tests.support.batched_runs import ANSWER, MANY, PATIENCE, answering, check_whole, numbers_of, say
from tests.support.slots import FakeSlot
from tests.support.waiting import wait_until
from worker.attempt import event_writer
from worker.attempt.conclusion import Ending
from worker.attempt.event_writer import EventWriter
from worker.attempt.execution import execute
from worker.cancellation import RunStopped, StopReason
from worker.executors.base import ExecutorEvent, Succeeded


def deepest():
    """A payload that is one event, and cannot be stored with others: it is nested too deep."""
    payload = {}
    for _ in range(252):
        payload = {"in": payload}
    return payload


def test_an_event_that_no_batch_takes_delays_no_other_run(start, make_run, gate, events_of, reload):
    runs = [make_run() for _ in range(MANY)]
    speak, spoken = threading.Event(), threading.Semaphore(0)

    def executor(context, emit):
        assert speak.wait(PATIENCE)
        emit(ExecutorEvent("Deep", deepest()) if context.run_id == runs[7].id else say(0))
        spoken.release()
        return Succeeded(ANSWER)

    begun = [start(executor, run) for run in runs]
    wait_until(lambda: all(reload(run).status is RunStatus.RUNNING for run in runs), timeout=PATIENCE)
    gate.clear()
    speak.set()
    assert all(spoken.acquire(timeout=PATIENCE) for _ in runs)
    gate.set()
    assert [one.join() for one in begun] == [Ending.SUCCEEDED] * MANY
    for run in runs:
        check_whole(events_of(run), [] if run is runs[7] else [0])
    assert "Deep" in [one.type for one in events_of(runs[7])]


REFUSE = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION USING ERRCODE = '23514', MESSAGE = 'refused'; END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON run_events FOR EACH ROW
    WHEN (NEW.payload ->> 'number' = '666') EXECUTE FUNCTION refuse();
"""


def test_an_event_that_the_table_refuses_breaks_its_run_alone(
    start, make_run, superuser_engine, reload, events_of
):
    with superuser_engine.begin() as connection:
        connection.exec_driver_sql(REFUSE)
    runs = [make_run() for _ in range(MANY)]
    speak = threading.Event()

    def executor(context, emit):
        assert speak.wait(PATIENCE)
        emit(say(666 if context.run_id == runs[7].id else 0))
        return Succeeded(ANSWER)

    begun = [start(executor, run) for run in runs]
    wait_until(lambda: all(reload(run).status is RunStatus.RUNNING for run in runs), timeout=PATIENCE)
    speak.set()
    endings = [one.join() for one in begun]
    assert endings.pop(7) is Ending.BROKEN
    assert set(endings) == {Ending.SUCCEEDED}
    assert reload(runs[7]).status_detail["reason"] == Reason.INTERNAL_ERROR
    for run in runs:
        check_whole(events_of(run), [] if run is runs[7] else [0])


def test_a_locked_run_delays_no_other_run_and_is_stored_in_order(
    start, make_run, committed_sessions, events_of, reload
):
    runs = [make_run() for _ in range(3)]
    speak = threading.Event()

    def executor(_context, emit):
        assert speak.wait(PATIENCE)
        for number in range(200):
            emit(say(number))
        return Succeeded(ANSWER)

    begun = [start(executor, run) for run in runs]
    wait_until(lambda: all(reload(run).status is RunStatus.RUNNING for run in runs), timeout=PATIENCE)
    with unit_of_work(committed_sessions) as session:
        session.execute(select(Run.id).where(Run.id == runs[0].id).with_for_update())
        speak.set()
        assert [one.join() for one in begun[1:]] == [Ending.SUCCEEDED] * 2
        assert numbers_of(events_of(runs[0])) == []
    assert begun[0].join() is Ending.SUCCEEDED
    for run in runs:
        check_whole(events_of(run), range(200))


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        ("another attempt", StopReason.LEASE_LOST),
        ("requeued", StopReason.LEASE_LOST),
        ("ended", StopReason.LEASE_LOST),
        ("cancelled", StopReason.CANCELLED),
    ],
)
def test_a_lease_that_is_lost_in_a_batch_fires_the_token_of_its_run_only(
    hold, make_run, gate, ticks, lose, events_of, way, reason
):
    held = [hold(make_run(status=RunStatus.RUNNING)) for _ in range(5)]
    writers = [EventWriter(one) for one in held]
    lose(held[1], way)
    before = len(events_of(held[1]))
    gate.clear()
    for writer in writers:
        writer.emit(say(0))
    gate.set()
    for writer in writers:
        writer.close()
    assert [one.token.reason for one in held] == [None, reason, None, None, None]
    assert [one.is_broken for one in writers] == [False, True, False, False, False]
    assert len(events_of(held[1])) == before
    assert [numbers_of(events_of(one)) for one in held] == [[0], [], [0], [0], [0]]
    assert max(len(tick["appends"]) for tick in ticks) >= 2
    with pytest.raises(RunStopped):
        writers[1].emit(say(1))


def test_a_run_for_which_there_is_no_thread_breaks_alone(
    hold, make_run, committed_sessions, monkeypatch, events_of
):
    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    held = [hold(make_run(status=RunStatus.RUNNING)) for _ in range(2)]
    broken, whole = map(EventWriter, held)
    whole.emit(say(0))
    wait_until(lambda: numbers_of(events_of(held[1])) == [0], timeout=PATIENCE)
    with unit_of_work(committed_sessions) as session:
        session.execute(select(Run.id).where(Run.id == held[0].id).with_for_update())
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            broken.emit(say(0))
            wait_until(lambda: held[0].token.is_cancelled, timeout=PATIENCE)
        whole.emit(say(1))
        whole.close()
        broken.close()
    assert broken.is_broken
    assert [one.token.reason for one in held] == [StopReason.DATABASE_LOST, None]
    assert numbers_of(events_of(held[1])) == [0, 1]


def test_events_that_make_no_batch_break_their_run_alone(hold, make_run, monkeypatch, events_of):
    held = [hold(make_run(status=RunStatus.RUNNING)) for _ in range(3)]
    writers = [EventWriter(one) for one in held]

    def make(run_id, *given):
        if run_id == held[1].id:
            raise MemoryError
        return Batch(run_id, *given)

    monkeypatch.setattr(event_writer, "Batch", make)
    for writer in writers:
        writer.emit(say(0))
    for writer in writers:
        writer.close()
    assert [one.token.reason for one in held] == [None, StopReason.DATABASE_LOST, None]
    assert [numbers_of(events_of(one)) for one in held] == [[0], [], [0]]


def test_an_executor_that_cannot_be_made_ends_its_own_run_only(resources, make_run):
    def exit_(*_):
        raise SystemExit

    run = make_run()
    with pytest.raises(SystemExit):
        execute(resources, run.id, 1, FakeSlot(), resolve=exit_)
    other = make_run()
    assert execute(resources, other.id, 1, FakeSlot(), resolve=lambda *_: answering()) is Ending.SUCCEEDED
    assert not resources.batches._is_dead

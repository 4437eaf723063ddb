"""What a batch stores is stored once, also when nobody learns that it was."""

import os
import subprocess
import sys
import threading
from contextlib import contextmanager

from sqlalchemy.exc import OperationalError

from shared.db import unit_of_work
from shared.events import log
from shared.lifecycle import RunStatus, Trigger
from shared.runs import moves
from tests.support.batched_runs import ANSWER, DETAIL, PATIENCE, answering, check_whole, numbers_of, say
from tests.support.checkout import ROOT
from tests.support.locks import waiting_for_locks
from tests.support.slots import FakeSlot
from tests.support.waiting import wait_until
from worker.attempt import batch_writer
from worker.attempt.conclusion import Ending
from worker.attempt.event_writer import EventWriter
from worker.attempt.execution import execute
from worker.executors.base import Succeeded


def test_events_whose_commit_lost_its_answer_are_stored_once(start, make_run, lose_answer, events_of, reload):
    run, speak, go_on = make_run(), threading.Event(), threading.Event()

    def executor(_context, emit):
        assert speak.wait(PATIENCE)
        emit(say(0))
        assert go_on.wait(PATIENCE)
        emit(say(1))
        return Succeeded(ANSWER)

    one = start(executor, run)
    wait_until(lambda: reload(run).status is RunStatus.RUNNING, timeout=PATIENCE)
    lose_answer()
    speak.set()
    wait_until(lambda: numbers_of(events_of(run)) == [0], timeout=PATIENCE)
    go_on.set()
    assert one.join() is Ending.SUCCEEDED
    check_whole(events_of(run), [0, 1])


def test_an_end_whose_commit_lost_its_answer_is_made_once(start, make_run, lose_answer, events_of, reload):
    run = make_run()

    def executor(_context, emit):
        emit(say(0))
        wait_until(lambda: numbers_of(events_of(run)) == [0], timeout=PATIENCE)
        lose_answer()
        return Succeeded(ANSWER)

    one = start(executor, run)
    assert one.join() is Ending.SUCCEEDED
    check_whole(events_of(run), [0])
    assert reload(run).event_count == len(events_of(run))


def test_an_end_with_events_whose_commit_lost_its_answer_stores_them_once(
    hold, make_run, lose_answer, events_of
):
    run = make_run(status=RunStatus.RUNNING)
    held = hold(run)
    writer = EventWriter(held)
    lose_answer()
    with writer._changed:  # so that nothing is taken before the end
        writer._taken_at = float("inf")
    writer.emit(say(0))
    assert not writer.end(Trigger.SUCCEED, detail=DETAIL, output=ANSWER)
    writer.close()
    assert not writer.is_broken
    assert held.move(Trigger.SUCCEED, detail=DETAIL, output=ANSWER)
    check_whole(events_of(run), [0])


def test_a_run_whose_begin_lost_its_answer_is_taken_over(
    start, make_run, lose_answer, lose, events_of, reload
):
    run = make_run()
    lose_answer()
    assert start(answering(2), run).join() is Ending.NOT_CLAIMED
    assert reload(run).status is RunStatus.RUNNING
    lose(run, "requeued")  # as the reconciler does once the lease has expired
    assert start(answering(2), run, attempt=2).join() is Ending.SUCCEEDED
    check_whole(events_of(run), range(2))


def test_what_was_stored_before_a_revoke_without_an_answer_is_stored_once(
    start, reload, gate, lose_answer, events_of, cancel_all
):
    """The commit of its batch loses its answer while the run is told to stop, and nobody has cancelled it."""
    spoken, go_on = threading.Semaphore(0), threading.Semaphore(0)

    def executor(context, emit):
        for number in range(3):
            assert go_on.acquire(timeout=PATIENCE)
            emit(say(number))
            spoken.release()
        context.token.wait(PATIENCE)
        context.token.raise_if_cancelled()

    one = start(executor)
    wait_until(lambda: reload(one.run).status is RunStatus.RUNNING, timeout=PATIENCE)
    lose_answer(gate)
    gate.clear()
    for _ in range(3):
        go_on.release()
        assert spoken.acquire(timeout=PATIENCE)
    cancel_all([one], is_by_api=False)
    gate.set()
    assert one.join() is Ending.CANCELLED
    check_whole(events_of(one.run), [0, 1, 2])


def test_a_commit_that_outlives_its_connection_stores_its_events_once(
    hold, make_run, monkeypatch, events_of, committed_sessions
):
    under_way = []

    @contextmanager
    def losing(sessions):
        session = sessions()
        session.begin()
        yield session
        under_way.append(session)
        raise OperationalError("COMMIT", {}, ConnectionError("gone"))

    held = hold(make_run(status=RunStatus.RUNNING))
    writer = EventWriter(held)
    with monkeypatch.context() as patch:
        patch.setattr(batch_writer, "unit_of_work", losing)
        writer.emit(say(0))
        wait_until(lambda: under_way and waiting_for_locks(committed_sessions), timeout=PATIENCE)
    under_way[0].commit()
    under_way[0].close()
    writer.close()
    assert held.token.reason is None
    assert numbers_of(events_of(held)) == [0]


KILLED = """
import os, sys, uuid
import shared.db
from shared.settings import get_settings
from tests.support.slots import FakeSlot
from worker.attempt import resources
from worker.attempt.execution import execute
from worker.executors.base import ExecutorEvent

commits = []

def die(session):
    commits.append(session)
    if len(commits) == 2:  # the run has begun with the first one
        os._exit(9)

shared.db.run_after_commit = die

def say(_context, emit):
    emit(ExecutorEvent("Word", {"type": "Word"}))
    _context.token.wait(30)

execute(resources.make(get_settings()), uuid.UUID(sys.argv[1]), 1, FakeSlot(), resolve=lambda *_: say)
"""


def test_a_worker_killed_between_commit_and_publish_has_stored_what_readers_will_read(
    committed_settings, committed_sessions, make_run, resources, dispatcher
):
    run = make_run()
    urls = {
        "RUNYARD_DATABASE_URL": committed_settings.database_url.get_secret_value(),
        "RUNYARD_REDIS_URL": committed_settings.redis_url.get_secret_value(),
    }
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(run.id)],
        cwd=ROOT,
        env={**os.environ, **urls},
        check=False,
        capture_output=True,
        timeout=60,
    )
    assert ended.returncode == 9, ended.stderr

    def types():
        with committed_sessions() as session:
            return [(one.type, one.attempt) for one in log.read(session, run.id, start=0, limit=100).events]

    begun = [("AssistantRunQueued", 0), ("AssistantRunStarting", 1), ("AssistantRunRunning", 1), ("Word", 1)]
    assert types() == begun
    with unit_of_work(committed_sessions) as session:
        moves.requeue(session, dispatcher, run.id, attempt=1, detail=DETAIL)
    execute(resources, run.id, 2, FakeSlot(), resolve=lambda *_: lambda *_: Succeeded(ANSWER, prompt="hello"))
    again = [
        (kind, 2)
        for kind in (
            "AssistantRunStarting",
            "AssistantRunRunning",
            "FinishStructureRunEvent",
            "AssistantRunCompleted",
        )
    ]
    assert types() == [*begun, ("AssistantRunQueued", 1), *again]

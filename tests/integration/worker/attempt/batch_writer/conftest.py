"""Runs of one process, and what its batch writer is asked, writes and is answered."""

import threading
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
import structlog
from sqlalchemy.exc import OperationalError

from shared.db import unit_of_work
from shared.runs import moves
from tests.support.batched_runs import PATIENCE, Execution
from tests.support.dispatching import RecordingDispatcher
from tests.support.listening import listen
from tests.support.slots import FakeSlot
from worker.attempt import batch_writer
from worker.attempt import resources as worker_resources
from worker.attempt.batch_writer import BatchWriter
from worker.attempt.execution import execute
from worker.attempt.lease import LeaseKeeper
from worker.cancellation import StopReason


@pytest.fixture
def setting_overrides(request):
    usual = {"event_flush": timedelta(milliseconds=20), "database_outage_grace": timedelta(seconds=20)}
    return {**usual, **getattr(request, "param", {})}


@pytest.fixture
def resources(committed_settings):
    """A worker process' resources whose messages are remembered and not sent."""
    made = worker_resources.make(committed_settings)
    made.dispatcher.close()
    sent = RecordingDispatcher()
    writer = BatchWriter(
        made.sessions, sent, committed_settings, worker_name=made.worker_name, runs=lambda: leases.runs
    )
    leases = LeaseKeeper(made.sessions, committed_settings, between_ticks=writer.between_ticks)
    made = replace(made, dispatcher=sent, batches=writer, leases=leases)
    yield made
    made.close()


@pytest.fixture
def start(resources, make_run):
    """Execute a run, a new one if none is given, with an executor."""
    begun = []

    def start(executor, run=None, attempt=1):
        made = Execution(run or make_run(), FakeSlot(), threading.Thread())

        def work():
            made.ending = execute(resources, made.run.id, attempt, made.slot, resolve=lambda *_: executor)

        made.thread = threading.Thread(target=work, daemon=True)
        made.thread.start()
        begun.append(made)
        return made

    yield start
    for one in begun:
        one.slot.token.cancel(StopReason.CANCELLED)
        one.thread.join(PATIENCE)


@pytest.fixture
def traffic(resources):
    """What the worker has said to PostgreSQL: each item is a round trip."""
    said = []
    listen(resources.engine, "begin", lambda _: said.append("BEGIN"))
    listen(resources.engine, "commit", lambda _: said.append("COMMIT"))
    listen(resources.engine, "rollback", lambda _: said.append("ROLLBACK"))
    listen(resources.engine, "before_cursor_execute", lambda *given: said.append(given[2]))
    return said


@pytest.fixture
def gate(monkeypatch):
    """While it is cleared, no transaction of the batch writer begins, and work gathers."""
    is_open = threading.Event()
    is_open.set()

    @contextmanager
    def gated(sessions):
        assert is_open.wait(PATIENCE)
        with unit_of_work(sessions) as session:
            yield session

    monkeypatch.setattr(batch_writer, "unit_of_work", gated)
    return is_open


@pytest.fixture
def asked(resources, monkeypatch):
    """The begins and ends that runs have asked the batch writer for, wherever they are by now."""
    asked, decided = [], resources.batches._decided

    def ask(request):
        asked.append(request)
        return decided(request)

    monkeypatch.setattr(resources.batches, "_decided", ask)
    return asked


@pytest.fixture
def logged(monkeypatch):
    """The lines of a module's log during a block."""

    @contextmanager
    def logged(name):
        lines = []
        record = structlog.testing.CapturingLogger()
        with monkeypatch.context() as patch:
            patch.setattr(name, record)
            yield lines
        lines += [(call.method_name, call.args, call.kwargs) for call in record.calls]

    return logged


@pytest.fixture
def ticks(monkeypatch):
    """What each transaction of the batch writer was to write: the arguments of `store_together`."""
    store_together, ticks = moves.store_together, []

    def record(*given, **options):
        ticks.append(options)
        return store_together(*given, **options)

    monkeypatch.setattr(moves, "store_together", record)
    return ticks


@pytest.fixture
def lose_answer(monkeypatch):
    """Lose the answer to the next commit of the batch writer; it takes effect."""

    def lose_answer(gate=None):
        is_lost = False

        @contextmanager
        def losing(sessions):
            nonlocal is_lost
            assert gate is None or gate.wait(PATIENCE)
            with unit_of_work(sessions) as session:
                yield session
            if not is_lost:
                is_lost = True
                raise OperationalError("COMMIT", {}, ConnectionError("gone"))

        monkeypatch.setattr(batch_writer, "unit_of_work", losing)

    return lose_answer


@pytest.fixture
def cancel_all(committed_sessions):
    """Cancel runs that are executed; a revoke says it to their worker only."""

    def cancel_all(begun, *, is_by_api):
        if is_by_api:
            with unit_of_work(committed_sessions) as session:
                for one in begun:
                    moves.cancel(session, RecordingDispatcher(), one.run.id, requested_by="ada")
        for one in begun:
            one.slot.token.cancel(StopReason.CANCELLED)

    return cancel_all

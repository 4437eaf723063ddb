"""PostgreSQL that is there and takes no writes: a worker and a reconciler outlive it, and lose nothing."""

import threading
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import event, select

from shared.db import make_engine, make_sessions
from shared.lifecycle import RunStatus
from shared.models import Run
from shared.runs import moves
from tests.support.batched_runs import numbers_of, say
from tests.support.refusals import raising, refusing_writes
from tests.support.slots import FakeSlot
from tests.support.waiting import wait_until
from worker.attempt.conclusion import Ending
from worker.attempt.execution import execute
from worker.executors.base import Succeeded
from worker.reconciler.reconciler import Reconciler

PATIENCE = 60
ANSWER = {"type": "TextArtifact", "value": "hello"}


@pytest.fixture
def setting_overrides():
    return {
        "heartbeat": timedelta(milliseconds=100),
        "event_flush": timedelta(milliseconds=20),
        "reconcile_interval": timedelta(milliseconds=50),
    }


@pytest.fixture
def read_only(services, committed_settings):
    return partial(refusing_writes, services, committed_settings)


@pytest.fixture
def refusals(resources):
    """What PostgreSQL has refused to the worker."""
    refused = []
    event.listen(resources.engine, "handle_error", lambda context: refused.append(context.statement or ""))
    return refused


@pytest.fixture
def attempt(resources, make_run):
    """A run that is being executed, and says a word whenever it is told to."""

    class Attempt:
        def __init__(self):
            self.run = make_run()
            self.words, self.ending = threading.Semaphore(0), None
            self.said = 0
            self._thread = threading.Thread(target=self._work, daemon=True)
            self._thread.start()

        def _work(self):
            self.ending = execute(resources, self.run.id, 1, FakeSlot(), resolve=lambda *_: self._execute)

        def _execute(self, _context, emit):
            for number in range(3):
                assert self.words.acquire(timeout=PATIENCE)
                emit(say(number))
                self.said += 1
            return Succeeded(ANSWER, prompt="hello")

        def join(self):
            self._thread.join(PATIENCE)
            return self.ending

    return Attempt()


@pytest.fixture
def check_reconciler(committed_settings, make_run, dispatcher):
    """Fail unless a reconciler is refused while a hindrance lasts, and ends a run after it."""

    def check(hindrance):
        run = make_run()
        engine = make_engine(committed_settings)
        refused, stop = [], threading.Event()
        event.listen(engine, "handle_error", lambda context: refused.append(context.statement))
        settings = committed_settings.model_copy(update={"queue_ttl": timedelta(milliseconds=1)})
        reconciler = Reconciler(settings, make_sessions(engine), dispatcher)
        thread = threading.Thread(target=reconciler.run, args=(stop,), daemon=True)
        with hindrance:
            thread.start()
            wait_until(lambda: len(refused) >= 2, timeout=PATIENCE)
            assert thread.is_alive()
        ended = wait_until(lambda: [one for one in dispatcher.announced if one.is_last], timeout=PATIENCE)
        stop.set()
        thread.join(PATIENCE)
        engine.dispose()
        assert ended[0].run_id == run.id

    return check


def renewals(refused):
    return [statement for statement in refused if "lease_expires_at" in statement]


def appends(refused):
    """What would have stored events: in a batch, or alone, which begins by locking the run."""
    marks = ("event_count", "FOR NO KEY UPDATE")
    return [statement for statement in refused if any(mark in statement for mark in marks)]


def test_a_run_outlives_a_database_that_only_reads(attempt, read_only, refusals, reload, events_of):
    attempt.words.release()
    wait_until(lambda: attempt.said == 1, timeout=PATIENCE)
    with read_only():
        attempt.words.release()
        wait_until(lambda: attempt.said == 2, timeout=PATIENCE)
        wait_until(lambda: len(renewals(refusals)) >= 2, timeout=PATIENCE)
        wait_until(lambda: appends(refusals), timeout=PATIENCE)
    before = reload(attempt.run).lease_expires_at
    wait_until(lambda: reload(attempt.run).lease_expires_at > before, timeout=PATIENCE)
    attempt.words.release()
    assert attempt.join() is Ending.SUCCEEDED
    assert reload(attempt.run).status is RunStatus.SUCCEEDED
    assert numbers_of(events_of(attempt.run)) == [0, 1, 2]


STATES = ["25006", "40001", "40P01", "53100", "53300", "55P03", "57014", "57P01", "57P03", "08006", "08003"]


@pytest.mark.parametrize("state", STATES)
def test_a_run_outlives_whatever_postgresql_says_that_passes(
    attempt, superuser_engine, refusals, events_of, state
):
    attempt.words.release()
    wait_until(lambda: attempt.said == 1, timeout=PATIENCE)
    with raising(superuser_engine, state):
        attempt.words.release()
        wait_until(lambda: attempt.said == 2, timeout=PATIENCE)
        wait_until(lambda: len(renewals(refusals)) >= 2, timeout=PATIENCE)
        wait_until(lambda: appends(refusals), timeout=PATIENCE)
    attempt.words.release()
    assert attempt.join() is Ending.SUCCEEDED
    assert numbers_of(events_of(attempt.run)) == [0, 1, 2]


@pytest.mark.parametrize("state", STATES)
def test_a_reconciler_outlives_whatever_postgresql_says_that_passes(
    check_reconciler, superuser_engine, state
):
    check_reconciler(raising(superuser_engine, state))


def test_a_run_whose_event_writer_dies_does_not_succeed(attempt, monkeypatch, reload):
    def die(*_, **__):
        raise SystemExit

    # The batch writer declines everything, so the run writes alone.
    monkeypatch.setattr(moves, "store_together", lambda *_, **__: frozenset())
    monkeypatch.setattr("worker.attempt.event_writer._Append.__call__", die)
    for _ in range(3):
        attempt.words.release()
    assert attempt.join() is Ending.BROKEN
    run = reload(attempt.run)
    assert (run.status, run.status_detail["reason"]) == (RunStatus.ERROR, "InternalError")


def test_a_reconciler_goes_on_after_a_database_that_only_reads(check_reconciler, read_only):
    check_reconciler(read_only())


def test_a_structure_is_called_once_though_writes_are_refused(
    resources, read_only, refusals, factories, make_assistant, committed_sessions
):
    structure = factories.structure(code={"default": {"folder": "none"}})
    run = factories.run(assistant=make_assistant(structure_ids=[structure.id]))
    ready, go_on, answers = threading.Event(), threading.Event(), []

    def call(context, _emit):
        ready.set()
        assert go_on.wait(PATIENCE)
        answers.append(context.structures[0].call(["a\0b", "\ud800"]))
        return Succeeded(ANSWER)

    thread = threading.Thread(
        target=lambda: execute(resources, run.id, 1, FakeSlot(), resolve=lambda *_: call), daemon=True
    )
    thread.start()
    assert ready.wait(PATIENCE)
    with read_only():
        go_on.set()
        wait_until(lambda: any(one.startswith("SELECT") for one in refusals), timeout=PATIENCE)
    thread.join(PATIENCE)

    (answer,) = answers
    assert answer["value"].startswith("The structure run is ERROR: The operator has set no directory")
    with committed_sessions() as session:
        (child,) = session.scalars(select(Run).where(Run.parent_run_id == run.id)).all()
    assert child.args == ["a\N{REPLACEMENT CHARACTER}b", "\N{REPLACEMENT CHARACTER}"]

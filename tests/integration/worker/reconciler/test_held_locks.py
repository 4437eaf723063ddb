"""What the reconciler does while somebody holds a row for long, such as a person in psql."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from shared.db import Lock, unit_of_work
from shared.lifecycle import RunStatus
from shared.models import Run, Thread
from shared.threads import service as threads
from tests.support.waiting import wait_until
from worker.reconciler.reconciler import Reconciler


@pytest.fixture
def reconciler(committed_settings, committed_sessions, dispatcher):
    brief = committed_settings.model_copy(update={"lease_ttl": timedelta(milliseconds=1)})
    return Reconciler(brief, committed_sessions, dispatcher)


@pytest.fixture
def thread_id(factories, committed_sessions):
    principal = factories.default_principal()
    with unit_of_work(committed_sessions) as session:
        return threads.create(session, principal, {"name": "held"}).id


@pytest.fixture
def rounds(reconciler, committed_sessions, thread_id):
    """Do rounds while somebody holds the thread, until a condition is met."""

    def rounds(are_done):
        def work():
            while not over.is_set():
                reconciler.round()

        over = threading.Event()
        working = threading.Thread(target=work)
        with unit_of_work(committed_sessions) as holder:
            holder.execute(Lock.CHANGE(select(Thread.id).where(Thread.id == thread_id), Thread))
            working.start()
            try:
                wait_until(are_done, timeout=30, what="the rounds to go on")
            finally:
                over.set()
                working.join(30)  # the thread is held until the last round is done
        assert not working.is_alive()

    return rounds


def lose(sessions, *runs):
    with unit_of_work(sessions) as session:
        lost = update(Run).where(Run.id.in_([run.id for run in runs]))
        session.execute(lost.values(lease_expires_at=func.now() - timedelta(hours=1)))


def read(sessions, run):
    with unit_of_work(sessions) as session:
        return session.get_one(Run, run.id)


def test_a_lost_run_whose_thread_somebody_holds_keeps_no_other(
    rounds, reconciler, thread_id, factories, committed_sessions, dispatcher
):
    on_thread = factories.run(status=RunStatus.RUNNING, thread_id=thread_id)
    waiting = factories.run(thread_id=thread_id)
    others = [factories.run(status=RunStatus.RUNNING), factories.run(status=RunStatus.RUNNING)]
    lose(committed_sessions, on_thread, *others)
    dispatcher.announced.clear()
    rounds(lambda: all(read(committed_sessions, run).status is RunStatus.ERROR for run in others))
    assert on_thread.id not in {event.run_id for event in dispatcher.announced}
    assert read(committed_sessions, on_thread).status is RunStatus.RUNNING
    reconciler.round()
    assert read(committed_sessions, on_thread).status is RunStatus.ERROR
    assert not read(committed_sessions, waiting).waits_for_thread


def test_a_free_thread_that_somebody_holds_keeps_nothing_else(
    rounds, reconciler, thread_id, factories, committed_sessions
):
    factories.run(status=RunStatus.RUNNING, thread_id=thread_id)
    waiting, undelivered = factories.run(thread_id=thread_id), factories.run()
    with unit_of_work(committed_sessions) as session:
        freed = update(Run).where(Run.thread_id == thread_id, ~Run.waits_for_thread)
        session.execute(freed.values(thread_id=None))
        long_ago = func.now() - timedelta(hours=1)
        session.execute(update(Run).where(Run.id == undelivered.id).values(dispatched_at=long_ago))
    rounds(lambda: read(committed_sessions, undelivered).dispatch_count > 0)
    assert read(committed_sessions, waiting).waits_for_thread
    reconciler.round()
    assert not read(committed_sessions, waiting).waits_for_thread

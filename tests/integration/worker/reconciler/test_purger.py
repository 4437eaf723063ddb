"""The purger, beside the reconciler's rounds."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import OperationalError

from shared.db import is_passing, unit_of_work
from shared.lifecycle import RunStatus
from shared.models import Run, RunEvent, Thread
from shared.retention.policy import Policy
from shared.threads import service as threads
from tests.support.waiting import wait_until
from worker.reconciler import reconciler
from worker.reconciler.purger import Purger

MONTH = Policy(timedelta(days=30), None)


@pytest.fixture
def old_runs(factories, committed_sessions):
    for _ in range(3):
        factories.run(status=RunStatus.SUCCEEDED)
    past = timedelta(days=40)
    with unit_of_work(committed_sessions) as session:
        session.execute(
            update(Run).values(created_at=Run.created_at - past, completed_at=Run.completed_at - past)
        )
        session.execute(update(RunEvent).values(run_day=RunEvent.run_day - past.days))


def test_it_works_until_the_reconciler_stops(old_runs, committed_sessions):
    with reconciler.purging(Purger(MONTH, committed_sessions), stop := threading.Event()):
        wait_until(lambda: _count(committed_sessions) == 0, timeout=60, what="the runs to be gone")
    assert stop.is_set()
    assert "purger" not in {thread.name for thread in threading.enumerate()}


def test_its_failure_ends_the_reconciler(committed_sessions, monkeypatch):
    stop, purger = threading.Event(), Purger(MONTH, committed_sessions)

    def broken(_stop):
        raise ZeroDivisionError

    monkeypatch.setattr(purger, "purge", broken)
    with pytest.raises(ZeroDivisionError), reconciler.purging(purger, stop):
        assert stop.wait(60)


def test_it_waits_for_no_lock_for_long(old_runs, committed_sessions):
    """What somebody holds is deleted in a later pass."""
    purger = Purger(MONTH, committed_sessions)
    with unit_of_work(committed_sessions) as holder:
        holder.execute(select(RunEvent).with_for_update())
        with pytest.raises(OperationalError) as refused:
            purger.purge(threading.Event())
        assert is_passing(refused.value)
        assert _count(committed_sessions) == 3
    assert purger.purge(threading.Event()).runs == 3


def test_what_somebody_holds_keeps_nothing_of_another_kind(old_runs, factories, committed_sessions):
    """It may be held for as long as a transaction is open, and so in pass after pass."""
    principal = factories.principal()
    with unit_of_work(committed_sessions) as session:
        thread = threads.create(session, principal, {"name": "old"})
    past = timedelta(days=40)
    with unit_of_work(committed_sessions) as session:
        changed = {"created_at": Thread.created_at - past, "updated_at": Thread.updated_at - past}
        session.execute(update(Thread).where(Thread.id == thread.id).values(changed))
    purger = Purger(Policy(timedelta(days=30), timedelta(days=30)), committed_sessions)
    with unit_of_work(committed_sessions) as holder:
        holder.execute(select(RunEvent).with_for_update())
        with pytest.raises(OperationalError) as refused:
            purger.purge(threading.Event())
        assert is_passing(refused.value)
        with unit_of_work(committed_sessions) as session:
            assert session.get(Thread, thread.id) is None
        assert _count(committed_sessions) == 3
    assert purger.purge(threading.Event()).runs == 3


def _count(sessions):
    with unit_of_work(sessions) as session:
        return session.scalar(select(func.count()).select_from(Run))

"""What the reconciler does with runs that call structures as tools, when it finds their calls with them."""

import itertools
from datetime import timedelta

import pytest
from sqlalchemy import func, update

from shared.db import unit_of_work
from shared.lifecycle import RunStatus
from shared.models import Run
from worker.reconciler import laps
from worker.reconciler.reconciler import Reconciler

PAST = timedelta(minutes=5)


@pytest.fixture
def make_call(sessions, make_run, factories):
    """Make a run and, later, a structure run that it has called."""

    def make(status, *, called):
        assistant = factories.assistant(structure_ids=[factories.structure().id])
        caller = make_run(assistant=assistant, status=status)
        age(sessions, "created_at", caller)
        return caller, factories.structure_run(parent_run_id=caller.id, status=called)

    return make


def age(sessions, column, *runs):
    """Set a column of some runs back."""
    with unit_of_work(sessions) as session:
        aged = update(Run).where(Run.id.in_([run.id for run in runs]))
        session.execute(aged.values({column: getattr(Run, column) - PAST}))


def reload(sessions, *runs):
    with sessions() as session:
        return [session.get_one(Run, run.id) for run in runs]


@pytest.mark.parametrize("called", [RunStatus.STARTING, RunStatus.RUNNING])
def test_a_call_that_is_lost_with_its_caller_is_cancelled_with_it(
    settings, sessions, dispatcher, make_run, make_call, called
):
    """The worker of both is lost, as when a caller's own worker executes the call."""
    caller, call = make_call(RunStatus.RUNNING, called=called)
    neighbour = make_run(status=RunStatus.RUNNING)
    age(sessions, "lease_expires_at", caller, call, neighbour)
    brief = settings.model_copy(update={"lease_ttl": timedelta(milliseconds=1)})
    Reconciler(brief, sessions, dispatcher).round()
    caller, call, neighbour = reload(sessions, caller, call, neighbour)
    assert [run.status for run in (caller, neighbour)] == [RunStatus.ERROR] * 2
    assert call.status is RunStatus.CANCELLED
    assert call.status_detail["requested_by"] == f"its parent run {caller.id}"
    assert call.status_detail["stopped_how"] == "worker_lost"
    assert not call.is_stopping


def test_calls_that_end_with_their_callers_end_no_round(
    settings, sessions, dispatcher, make_call, monkeypatch
):
    """A worker had many callers, and executed their calls: all of them are lost at once."""
    monkeypatch.setattr(laps, "BATCH", 4)
    pairs = [make_call(RunStatus.RUNNING, called=RunStatus.RUNNING) for _ in range(6)]
    for seconds, run in enumerate(itertools.chain(*pairs)):  # each call comes right after its caller
        age(sessions, "lease_expires_at", run)
        with unit_of_work(sessions) as session:
            created_at = func.now() + timedelta(seconds=seconds)
            session.execute(update(Run).where(Run.id == run.id).values(created_at=created_at))
    brief = settings.model_copy(update={"lease_ttl": timedelta(milliseconds=1)})
    Reconciler(brief, sessions, dispatcher).round()
    ends = [[run.status for run in reload(sessions, *pair)] for pair in pairs]
    assert ends == [[RunStatus.ERROR, RunStatus.CANCELLED]] * len(pairs)


def test_a_call_that_is_overdue_with_its_caller_is_cancelled_with_it(
    settings, sessions, dispatcher, make_call
):
    caller, call = make_call(RunStatus.RUNNING, called=RunStatus.RUNNING)
    age(sessions, "started_at", caller, call)
    brief = settings.model_copy(update={"max_duration": timedelta(minutes=1)})
    Reconciler(brief, sessions, dispatcher).round()
    caller, call = reload(sessions, caller, call)
    assert caller.status_detail["reason"] == "TimedOut"
    assert call.status is RunStatus.CANCELLED

"""A run's own limits go before the settings'."""

import uuid
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from shared.db import unit_of_work
from shared.lifecycle import RunStatus, Trigger
from shared.models import Run, RunEvent
from shared.runs import moves, transitions
from tests.support.dispatching import RecordingDispatcher
from worker.attempt.context import load_context
from worker.cancellation import CancelToken
from worker.reconciler.reconciler import Reconciler

MINUTE = timedelta(minutes=1)
PAST = timedelta(minutes=5)
DAY = timedelta(days=1)


@pytest.fixture
def change(sessions):
    """Set columns of a run."""

    def change(run, **values):
        with unit_of_work(sessions) as session:
            session.execute(update(Run).where(Run.id == run.id).values(values))

    return change


@pytest.fixture
def reconcile(settings, sessions, dispatcher):
    """Do a round under some settings, and return the run after it."""

    def reconcile(run, **changed):
        changed = {"lease_ttl": timedelta(milliseconds=1), **changed}
        Reconciler(settings.model_copy(update=changed), sessions, dispatcher).round()
        with sessions() as session:
            return session.get_one(Run, run.id)

    return reconcile


@pytest.fixture
def load(sessions):
    """Read the context of a run."""

    def load(run, settings):
        ways = {"write_log": list, "judge_exit": list, "call_structure": dict}
        with sessions() as session:
            return load_context(session, session.get_one(Run, run.id), settings, token=CancelToken(), **ways)

    return load


def test_a_run_expires_after_its_own_time_in_the_queue(make_run, change, reconcile):
    run = make_run()
    change(run, created_at=Run.created_at - PAST, queue_ttl=MINUTE)
    after = reconcile(run)
    assert (after.status, after.status_detail["reason"]) == (RunStatus.ERROR, "Expired")
    assert after.status_detail["message"] == "No worker took the run within 60 s."


def test_a_run_may_stay_in_the_queue_for_longer_than_others(make_run, change, reconcile):
    run = make_run()
    change(run, created_at=Run.created_at - PAST, queue_ttl=DAY)
    assert reconcile(run, queue_ttl=MINUTE).status is RunStatus.QUEUED


def test_a_run_that_waits_for_its_thread_expires_too(make_run, change, reconcile):
    run = make_run()
    change(run, created_at=Run.created_at - PAST, queue_ttl=MINUTE, waits_for_thread=True)
    assert reconcile(run).status_detail["reason"] == "Expired"


def test_a_run_is_ended_after_its_own_duration(make_run, change, reconcile, dispatcher):
    run = make_run(status=RunStatus.RUNNING)
    change(run, started_at=Run.started_at - PAST, max_duration=MINUTE)
    after = reconcile(run, lease_ttl=DAY)
    assert (after.status, after.status_detail["reason"]) == (RunStatus.ERROR, "TimedOut")
    assert after.status_detail["message"] == "The run took longer than it may: 60 s."
    assert dispatcher.revoked == [(run.id, 1)]


@pytest.mark.parametrize(("late", "is_ended"), [(timedelta(seconds=1), True), (-timedelta(seconds=1), False)])
def test_a_run_that_no_worker_has_is_ended_as_soon_as_its_time_is_up(
    factories, change, reconcile, dispatcher, late, is_ended
):
    """Nobody else would end it, so nobody is given time to."""
    run = factories.structure_run(is_external=True, limits={"max_duration": MINUTE})
    change(run, started_at=Run.started_at - MINUTE - late)
    after = reconcile(run)
    assert (after.status is RunStatus.ERROR) is is_ended
    assert not is_ended or after.status_detail["reason"] == "TimedOut"
    assert dispatcher.revoked == []


@pytest.mark.parametrize(("late", "is_ended"), [(timedelta(seconds=1), False), (PAST, True)])
def test_a_worker_has_time_to_end_its_run_itself(make_run, change, reconcile, late, is_ended):
    run = make_run(status=RunStatus.RUNNING)
    change(run, started_at=Run.started_at - MINUTE - late, max_duration=MINUTE)
    assert (reconcile(run, lease_ttl=DAY).status is RunStatus.ERROR) is is_ended


def test_a_run_may_take_longer_than_others(make_run, change, reconcile):
    run = make_run(status=RunStatus.RUNNING)
    change(run, started_at=Run.started_at - PAST, max_duration=DAY)
    assert reconcile(run, lease_ttl=DAY, max_duration=MINUTE).status is RunStatus.RUNNING


@pytest.mark.parametrize(("own", "expected"), [(timedelta(seconds=7), timedelta(seconds=7)), (None, DAY)])
def test_a_worker_stops_a_run_after_its_own_duration(settings, load, make_run, change, own, expected):
    run = make_run(status=RunStatus.STARTING)
    change(run, max_duration=own)
    context = load(run, settings.model_copy(update={"max_duration": DAY}))
    assert context.max_duration == expected


def test_an_executor_is_told_which_lists_of_a_run_nothing_acts_on(settings, load, make_run):
    run = make_run(status=RunStatus.STARTING, replace={"tool_ids": [uuid.uuid4()], "retriever_ids": []})
    context = load(run, settings)
    assert context.unserved == ("tool_ids",)


def test_a_run_that_opts_in_is_begun_again_until_its_attempts_are_used_up(
    sessions, make_run, change, reconcile
):
    """Promise 3: after a crash the code may run again, at most `max_attempts` times."""
    run = make_run(status=RunStatus.RUNNING)
    change(run, max_attempts=2)
    lapsed = {"lease_expires_at": Run.lease_expires_at - PAST}
    change(run, **lapsed)
    after = reconcile(run)
    assert (after.status, after.losses, after.status_detail["reason"]) == (RunStatus.QUEUED, 1, "WorkerLost")
    with unit_of_work(sessions) as session:
        moves.claim(session, RecordingDispatcher(), run.id, attempt=2, worker="another", lease_ttl=MINUTE)
        transitions.apply(session, run.id, Trigger.START, attempt=2)
    change(run, **lapsed)
    after = reconcile(run)
    assert (after.status, after.losses) == (RunStatus.ERROR, 2)
    assert after.status_detail["reason"] == "TooManyAttempts"
    with sessions() as session:
        events = session.execute(
            select(RunEvent.seq, RunEvent.type).where(RunEvent.run_id == run.id).order_by(RunEvent.seq)
        ).all()
    assert [seq for seq, _ in events] == list(range(after.event_count))
    assert [kind for _, kind in events].count("AssistantRunCompleted") == 1
    assert events[-1].type == "AssistantRunCompleted"


def test_a_run_may_ask_for_a_single_attempt(make_run, change, reconcile):
    run = make_run(status=RunStatus.STARTING)
    change(run, max_attempts=1, lease_expires_at=Run.lease_expires_at - PAST)
    assert reconcile(run).status is RunStatus.ERROR

"""What the reconciler finds, and what it leaves alone."""

import threading
import time
from datetime import timedelta

import pytest
import structlog
from sqlalchemy import update

from shared.db import unit_of_work
from shared.lifecycle import RunStatus
from shared.models import Run
from tests.support.waiting import wait_until
from worker.reconciler import laps
from worker.reconciler.reconciler import Reconciler

PAST = timedelta(minutes=5)


@pytest.fixture
def reconciler(settings, sessions, dispatcher):
    # The test's own server has only just started, which would make every loss look like its fault.
    return Reconciler(
        settings.model_copy(update={"lease_ttl": timedelta(milliseconds=1)}), sessions, dispatcher
    )


def age(sessions, run, **columns):
    """Set columns of a run; an instant given as PAST goes back by as much."""
    values = {name: getattr(Run, name) - PAST if value is PAST else value for name, value in columns.items()}
    with unit_of_work(sessions) as session:
        session.execute(update(Run).where(Run.id == run.id).values(values))


def reload(sessions, run):
    with sessions() as session:
        return session.get_one(Run, run.id)


def test_a_run_lost_before_it_ran_is_given_to_another_attempt(sessions, reconciler, make_run, dispatcher):
    run = make_run(status=RunStatus.STARTING)
    age(sessions, run, lease_expires_at=PAST)
    dispatcher.enqueued.clear()
    reconciler.round()
    after = reload(sessions, run)
    assert (after.status, after.losses, after.worker) == (RunStatus.QUEUED, 1, None)
    assert after.status_detail["reason"] == "WorkerLost"
    assert dispatcher.enqueued == [(run.id, 2)]


def test_a_run_lost_while_it_ran_is_not_repeated(sessions, reconciler, make_run, dispatcher):
    run = make_run(status=RunStatus.RUNNING)
    age(sessions, run, lease_expires_at=PAST)
    dispatcher.enqueued.clear()
    reconciler.round()
    after = reload(sessions, run)
    assert (after.status, after.status_detail["reason"]) == (RunStatus.ERROR, "WorkerLost")
    assert dispatcher.enqueued == []
    assert dispatcher.announced[-1].is_last


def test_a_run_that_kills_its_workers_stops_after_its_attempts(sessions, reconciler, make_run):
    run = make_run(status=RunStatus.STARTING)
    age(sessions, run, lease_expires_at=PAST, attempt=3, losses=2)
    reconciler.round()
    after = reload(sessions, run)
    assert (after.status, after.status_detail["reason"]) == (RunStatus.ERROR, "TooManyAttempts")
    assert after.losses == 3


@pytest.mark.parametrize("status", [RunStatus.STARTING, RunStatus.RUNNING])
def test_a_run_whose_lease_holds_is_left_alone(sessions, reconciler, make_run, status):
    run = make_run(status=status)
    assert reconciler.round() == 0
    assert reload(sessions, run).status is status


def test_nothing_is_lost_right_after_the_database_started(settings, sessions, dispatcher, make_run):
    run = make_run(status=RunStatus.RUNNING)
    age(sessions, run, lease_expires_at=PAST)
    patient = Reconciler(settings.model_copy(update={"lease_ttl": timedelta(days=1)}), sessions, dispatcher)
    assert patient.round() == 0
    assert reload(sessions, run).status is RunStatus.RUNNING


def test_a_cancel_whose_worker_vanished_gets_its_receipt(sessions, reconciler, make_run):
    run = make_run(status=RunStatus.RUNNING)
    age(
        sessions,
        run,
        lease_expires_at=PAST,
        status="CANCELLED",
        completed_at=run.started_at,
        is_stopping=True,
        status_detail={"reason": "Cancelled", "stopped_how": None},
    )
    reconciler.round()
    after = reload(sessions, run)
    assert after.status_detail["stopped_how"] == "worker_lost"
    assert after.status is RunStatus.CANCELLED
    assert not after.is_stopping


def test_a_run_that_nobody_takes_expires(settings, sessions, dispatcher, make_run):
    run = make_run()
    age(sessions, run, created_at=PAST)
    Reconciler(settings.model_copy(update={"queue_ttl": timedelta(minutes=1)}), sessions, dispatcher).round()
    after = reload(sessions, run)
    assert (after.status, after.status_detail["reason"]) == (RunStatus.ERROR, "Expired")


def test_a_run_that_outlives_its_time_is_ended_and_its_work_revoked(settings, sessions, dispatcher, make_run):
    run = make_run(status=RunStatus.RUNNING)
    age(sessions, run, started_at=PAST)
    Reconciler(
        settings.model_copy(update={"max_duration": timedelta(minutes=1)}), sessions, dispatcher
    ).round()
    after = reload(sessions, run)
    assert (after.status, after.status_detail["reason"]) == (RunStatus.ERROR, "TimedOut")
    assert dispatcher.revoked == [(run.id, 1)]


def test_a_run_whose_message_was_lost_is_sent_again(sessions, reconciler, make_run, dispatcher):
    run = make_run()
    age(sessions, run, dispatched_at=PAST)
    dispatcher.enqueued.clear()
    reconciler.round()
    assert dispatcher.enqueued == [(run.id, 1)]
    assert reload(sessions, run).dispatch_count == 1


def test_a_run_that_was_just_sent_is_not_sent_again(reconciler, make_run, dispatcher):
    make_run()
    dispatcher.enqueued.clear()
    reconciler.round()
    assert dispatcher.enqueued == []


@pytest.mark.parametrize(("dispatch_count", "is_sent"), [(0, True), (4, True), (5, False), (40, False)])
def test_behind_a_backlog_messages_are_sent_again_ever_more_rarely(
    sessions, reconciler, make_run, dispatcher, dispatch_count, is_sent
):
    """300 s after the last message, of 10, 20, 40, 80, 160, 320 … 640 s."""
    run = make_run()
    age(sessions, run, dispatched_at=PAST, dispatch_count=dispatch_count)
    dispatcher.enqueued.clear()
    dispatcher.waiting = None
    reconciler.round()
    assert bool(dispatcher.enqueued) == is_sent


def test_an_external_run_outlives_its_nominal_lease(sessions, reconciler, factories, dispatcher):
    """No worker is to renew it, or to have the run instead: it ends by its limits."""
    limits = {"max_duration": timedelta(days=60), "max_attempts": 3}
    run = factories.structure_run(is_external=True, limits=limits)
    with unit_of_work(sessions) as session:
        month = 40 * timedelta(days=1)
        changed = {"started_at": Run.started_at - month, "lease_expires_at": Run.lease_expires_at - month}
        session.execute(update(Run).where(Run.id == run.id).values(**changed))
    dispatcher.enqueued.clear()
    assert reconciler.round() == 0
    assert reload(sessions, run).status is RunStatus.RUNNING
    assert dispatcher.enqueued == []


def test_a_reconciler_that_begins_lets_the_workers_renew_their_leases_first(
    committed_settings, committed_sessions, dispatcher, factories
):
    """It may begin in the moment in which PostgreSQL is back: none of its runs has a lease then."""
    run = factories.run(status=RunStatus.RUNNING)
    age(committed_sessions, run, lease_expires_at=PAST)
    brief = {
        "lease_ttl": timedelta(seconds=1),
        "heartbeat": timedelta(milliseconds=100),
        "reconcile_interval": timedelta(milliseconds=50),
        "database_outage_grace": timedelta(seconds=5),  # if rounds take long, each seems to follow an outage
    }
    reconciler = Reconciler(committed_settings.model_copy(update=brief), committed_sessions, dispatcher)
    stop = threading.Event()
    thread = threading.Thread(target=reconciler.run, args=[stop])
    begun_at = time.monotonic()
    thread.start()
    try:
        wait_until(lambda: reload(committed_sessions, run).status is RunStatus.ERROR, what="it to be lost")
    finally:
        stop.set()
        thread.join(60)
    assert time.monotonic() - begun_at >= 1


REFUSE = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION USING ERRCODE = '23514', MESSAGE = 'refused'; END $$;
    CREATE TRIGGER refuse BEFORE UPDATE ON runs FOR EACH ROW
    WHEN (NEW.id IN ({})) EXECUTE FUNCTION refuse();
"""

BRIEF = {
    "lease_ttl": timedelta(milliseconds=1),
    "queue_ttl": timedelta(minutes=1),
    "max_duration": timedelta(minutes=1),
}


@pytest.mark.parametrize(
    ("status", "column"),
    [
        (RunStatus.STARTING, "lease_expires_at"),
        (RunStatus.RUNNING, "lease_expires_at"),
        (RunStatus.RUNNING, "started_at"),
        (RunStatus.QUEUED, "created_at"),
    ],
)
def test_a_run_that_cannot_be_repaired_holds_up_no_other(
    committed_settings, committed_sessions, superuser_engine, dispatcher, factories, status, column
):
    """Nor does it end the process, which would find it again."""
    odd, *others = runs = [factories.run(status=status) for _ in range(3)]
    for run in runs:
        age(committed_sessions, run, **{column: PAST, "queued_at": PAST})
    with superuser_engine.begin() as connection:
        connection.exec_driver_sql(REFUSE.format(f"'{odd.id}'"))
    before = reload(committed_sessions, odd)
    announced = len(dispatcher.announced)
    with structlog.testing.capture_logs() as lines:
        for _ in range(2):
            settings = committed_settings.model_copy(update=BRIEF)
            Reconciler(settings, committed_sessions, dispatcher).round()
    assert all(reload(committed_sessions, run).status is not status for run in others)
    after = reload(committed_sessions, odd)
    assert (after.status, after.event_count) == (status, before.event_count)
    assert odd.id not in {event.run_id for event in dispatcher.announced[announced:]}
    told = [line["run_id"] for line in lines if line["log_level"] == "error"]
    assert set(told) == {str(odd.id)}
    assert len(told) >= 2


def test_runs_that_cannot_be_repaired_hide_none_however_many_they_are(
    committed_settings, committed_sessions, superuser_engine, dispatcher, factories, monkeypatch
):
    monkeypatch.setattr(laps, "BATCH", 2)
    *odd, last = runs = [factories.run(status=RunStatus.RUNNING) for _ in range(6)]
    for run in runs:
        age(committed_sessions, run, lease_expires_at=PAST)
    with superuser_engine.begin() as connection:
        connection.exec_driver_sql(REFUSE.format(", ".join(f"'{run.id}'" for run in odd)))
    reconciler = Reconciler(committed_settings.model_copy(update=BRIEF), committed_sessions, dispatcher)
    for _ in range(3):
        with structlog.testing.capture_logs() as lines:
            reconciler.round()
        assert len([line for line in lines if line["log_level"] == "error"]) <= 2
    assert reload(committed_sessions, last).status is RunStatus.ERROR
    assert all(reload(committed_sessions, run).status is RunStatus.RUNNING for run in odd)

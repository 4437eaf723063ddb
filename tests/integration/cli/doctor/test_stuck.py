"""Runs that are stuck, each way by causing it."""

from datetime import timedelta

import pytest
from sqlalchemy import update

from cli.doctor.findings import Severity
from cli.doctor.stuck import examine_runs
from shared.db import unit_of_work
from shared.lifecycle import RunStatus, Trigger
from shared.models import Run
from shared.runs import receipts, transitions

AGO = timedelta(minutes=5)

OK, WARNING, PROBLEM = Severity.OK, Severity.WARNING, Severity.PROBLEM


@pytest.fixture
def stuck(sessions, settings):
    """What is found of the runs in the shared database by a doctor of little patience."""
    # The test's own server has only just started, which would make every loss look like its fault.
    moment = timedelta(milliseconds=1)
    hasty = settings.model_copy(update={"lease_ttl": moment, "reconcile_interval": moment})

    def stuck(waiting=frozenset()):
        with sessions() as session:
            findings = examine_runs(session, hasty, waiting=waiting)
        found = {finding.name: finding for finding in findings}
        assert len(found) == len(findings)
        assert found.pop("Runs").severity is found.pop("Demand").severity is OK
        return found

    return stuck


@pytest.fixture
def age(sessions):
    """Put an instant of a run AGO."""

    def age(run, *names, **values):
        earlier = {name: getattr(Run, name) - AGO for name in names}
        with unit_of_work(sessions) as session:
            session.execute(update(Run).where(Run.id == run.id).values({**earlier, **values}))

    return age


def test_runs_on_their_way_are_not_stuck(stuck, make_run, age):
    first = make_run(status=RunStatus.RUNNING, new_thread=True)
    waiting = make_run(thread_id=first.thread_id)
    age(waiting, "queued_at", "created_at", "dispatched_at")  # it waits for its thread, not for a worker
    for status in RunStatus:
        make_run(status=status)
    assert stuck() == {}


def test_a_run_that_is_not_sent_again_is_a_problem(stuck, make_run, age):
    run = make_run()
    age(run, "dispatched_at")
    found = stuck()["Undispatched"]
    assert found.severity is PROBLEM
    assert f"1, the oldest {run.id}" in found.seen
    assert "reconciler" in found.advice


def test_a_run_behind_a_backlog_may_not_have_been_sent_again(stuck, make_run, age):
    age(make_run(), "dispatched_at", dispatch_count=6)
    assert stuck(waiting=None) == {}
    assert set(stuck()) == {"Undispatched"}


def test_a_run_that_was_never_sent_is_a_problem(stuck, make_run, age):
    age(make_run(), "queued_at", dispatched_at=None)
    assert stuck()["Undispatched"].severity is PROBLEM


def test_a_run_that_waits_long_is_a_warning(stuck, make_run, age):
    age(make_run(), "queued_at")
    (found,) = stuck().values()
    assert (found.name, found.severity) == ("Waiting", WARNING)


@pytest.mark.parametrize("status", [RunStatus.STARTING, RunStatus.RUNNING])
def test_a_lost_run_that_is_not_taken_over_is_a_problem(stuck, make_run, age, status):
    age(make_run(status=status), "lease_expires_at")
    assert stuck()["Lost"].severity is PROBLEM


def cancel(sessions, run):
    with unit_of_work(sessions) as session:
        detail = receipts.cancel_detail(requested_by="ada")
        transitions.apply(session, run.id, Trigger.CANCEL, detail=detail)


def test_work_that_goes_on_after_a_cancel_is_a_warning(stuck, sessions, make_run, age):
    run = make_run(status=RunStatus.RUNNING)
    cancel(sessions, run)
    assert stuck() == {}
    age(run, "completed_at")
    assert {name: found.severity for name, found in stuck().items()} == {"Still stopping": WARNING}


def test_a_receipt_that_stays_open_is_a_problem(stuck, sessions, make_run, age):
    run = make_run(status=RunStatus.RUNNING)
    cancel(sessions, run)
    age(run, "completed_at", "lease_expires_at")
    assert {name: found.severity for name, found in stuck().items()} == {"Stop unconfirmed": PROBLEM}


def test_a_run_queued_for_too_long_is_a_problem(stuck, make_run, age):
    age(make_run(limits={"queue_ttl": timedelta(minutes=1)}), "created_at")
    age(make_run(limits={"queue_ttl": timedelta(hours=1)}), "created_at")
    found = stuck()
    assert set(found) == {"Expired"}
    assert "1, the oldest" in found["Expired"].seen


def test_a_run_running_for_too_long_is_a_problem(stuck, make_run, age):
    for limit in (timedelta(minutes=1), timedelta(hours=1)):
        age(make_run(status=RunStatus.RUNNING, limits={"max_duration": limit}), "started_at")
    found = stuck()
    assert set(found) == {"Overdue"}
    assert "1, the oldest" in found["Overdue"].seen


def test_a_thread_that_nobody_has_although_a_run_waits_for_it_is_a_warning(stuck, sessions, make_run, age):
    first = make_run(new_thread=True)
    make_run(thread_id=first.thread_id)
    age(first, thread_id=None)
    (found,) = stuck().values()
    assert (found.name, found.severity) == ("Threads", WARNING)
    assert str(first.thread_id) in found.seen


def test_several_runs_are_counted_and_the_oldest_named(stuck, make_run, age):
    runs = [make_run() for _ in range(5)]
    for run in runs:
        age(run, "dispatched_at")
    age(runs[4], "created_at")
    seen = stuck()["Undispatched"].seen
    assert f"5, the oldest {runs[4].id}, " in seen
    assert seen.count(", ") == 3

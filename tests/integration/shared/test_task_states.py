"""What Flower is told of a move follows from the move, and says nothing of what a run is about."""

import uuid
from datetime import timedelta
from functools import partial

import pytest

from shared.db import unit_of_work
from shared.lifecycle import Reason, RunStatus, Trigger
from shared.runs import moves
from shared.runs.task_states import missed_events
from tests.support.factories import WORKER

TASK = "runyard.execute_run"

MOVES = {
    Trigger.SUCCEED: moves.succeed,
    Trigger.FAIL: moves.fail,
    Trigger.BREAK: moves.break_,
    Trigger.REQUEUE: moves.requeue,
    Trigger.CANCEL: partial(moves.cancel, requested_by="me"),
}


@pytest.fixture
def moved(sessions, dispatcher):
    """Move a run, and return what is told of it."""

    def moved(run, trigger, **options):
        dispatcher.told.clear()
        with unit_of_work(sessions) as session:
            MOVES[trigger](session, dispatcher, run.id, **options)
        return dispatcher.told

    return moved


def kinds(told):
    return [event.type for event in told]


def test_a_claim_is_told_as_a_start_by_its_worker(sessions, dispatcher, make_run):
    run = make_run()
    dispatcher.told.clear()
    with unit_of_work(sessions) as session:
        moves.claim(session, dispatcher, run.id, attempt=1, worker=WORKER, lease_ttl=timedelta(seconds=9))
    assert kinds(dispatcher.told) == ["task-received", "task-started"]
    assert {event.worker for event in dispatcher.told} == {WORKER}
    received = dispatcher.told[0].fields
    assert (received["uuid"], received["name"]) == (f"{run.id}.1", TASK)
    owners = {"organization_id": str(run.organization_id), "assistant_id": str(run.assistant_id)}
    assert received["kwargs"] == repr({"run_id": str(run.id), "attempt": 1, **owners})
    assert dispatcher.owners[run.id] == owners


@pytest.mark.parametrize(
    ("trigger", "reason", "kind", "said"),
    [
        (Trigger.FAIL, Reason.MODEL_FAILED, "task-failed", "FAILED: ModelFailed"),
        (Trigger.BREAK, Reason.TIMED_OUT, "task-failed", "ERROR: TimedOut"),
        (Trigger.BREAK, "a reason that quotes sk-secret", "task-failed", "ERROR"),
        (Trigger.REQUEUE, Reason.WORKER_DRAINED, "task-retried", "QUEUED: WorkerDrained"),
    ],
)
def test_an_end_is_told_with_its_reason_alone(moved, make_run, trigger, reason, kind, said):
    run = make_run(status=RunStatus.RUNNING)
    detail = {"reason": reason, "message": "It said sk-secret.", "worker": WORKER}
    (event,) = moved(run, trigger, attempt=1, detail=detail)
    assert (event.type, event.worker, event.fields["exception"]) == (kind, WORKER, said)
    assert event.fields["uuid"] == f"{run.id}.1"
    assert "sk-secret" not in str(event)


@pytest.mark.parametrize(
    ("trigger", "kind"), [(Trigger.BREAK, "task-failed"), (Trigger.REQUEUE, "task-retried")]
)
def test_a_worker_that_was_lost_is_told_to_be_gone(moved, make_run, trigger, kind):
    run = make_run(status=RunStatus.RUNNING)
    told = moved(run, trigger, attempt=1, detail={"reason": Reason.WORKER_LOST, "worker": WORKER})
    assert kinds(told) == [kind, "worker-offline"]
    assert {event.worker for event in told} == {WORKER}


def test_a_run_that_nobody_had_ends_the_task_that_waits(sessions, dispatcher, make_run):
    run = make_run()
    dispatcher.told.clear()
    with unit_of_work(sessions) as session:
        moves.cancel(session, dispatcher, run.id, requested_by="me")
    (event,) = dispatcher.told
    assert (event.type, event.worker, event.fields["uuid"]) == ("task-revoked", "(no worker)", f"{run.id}.1")
    assert not event.fields["terminated"]


def test_a_run_that_waits_anew_ends_the_task_of_its_next_attempt(sessions, dispatcher, moved, make_run):
    run = make_run(status=RunStatus.RUNNING)
    moved(run, Trigger.REQUEUE, attempt=1, detail={"reason": Reason.WORKER_DRAINED, "worker": WORKER})
    (event,) = moved(run, Trigger.CANCEL)
    assert event.fields["uuid"] == f"{run.id}.2"


def test_of_a_run_that_no_worker_is_to_have_nothing_is_told(moved, make_run):
    first = make_run(status=RunStatus.RUNNING, new_thread=True)
    waiting = make_run(thread_id=first.thread_id)
    assert moved(waiting, Trigger.CANCEL) == []


@pytest.fixture
def missed(sessions):
    """What a monitor has missed of an attempt, which it takes to be under way."""

    def missed(run_id, attempt=1):
        with unit_of_work(sessions) as session:
            events = missed_events(session, {(run_id, attempt): WORKER})
        assert {event.fields["uuid"] for event in events} <= {f"{run_id}.{attempt}"}
        return [(event.type, event.fields.get("exception")) for event in events]

    return missed


@pytest.mark.parametrize(
    ("status", "attempt", "kinds"),
    [
        (RunStatus.QUEUED, 1, []),
        (RunStatus.RUNNING, 1, []),
        (RunStatus.SUCCEEDED, 1, ["task-succeeded"]),
        (RunStatus.ERROR, 1, ["task-failed"]),
        (RunStatus.CANCELLED, 1, ["task-revoked"]),  # while it waited for the first attempt
        (RunStatus.CANCELLED, 2, []),
    ],
)
def test_a_monitor_that_missed_an_end_is_told_of_it(missed, make_run, status, attempt, kinds):
    assert [kind for kind, _ in missed(make_run(status=status).id, attempt)] == kinds


def test_a_monitor_is_told_of_an_attempt_that_another_has_followed(missed, moved, make_run):
    run = make_run(status=RunStatus.RUNNING)
    moved(run, Trigger.REQUEUE, attempt=1, detail={"reason": Reason.WORKER_LOST, "worker": WORKER})
    assert missed(run.id) == [("task-retried", "QUEUED: WorkerLost")]
    assert missed(run.id, 2) == []
    moved(run, Trigger.CANCEL)
    assert [kind for kind, _ in missed(run.id, 2)] == ["task-revoked"]
    assert missed(uuid.uuid4()) == [("task-failed", "deleted")]

"""Moves of runs on the real database: who wins, what is recorded, what is refused."""

import threading
import uuid
from datetime import timedelta
from functools import partial
from itertools import product

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import IntegrityError

from shared.db import unit_of_work
from shared.errors import LeaseLostError, RunNotFoundError, TransitionRefusedError
from shared.events import log
from shared.events.log import NewEvent
from shared.lifecycle import HELD, TERMINAL, TRANSITIONS, Reason, RunStatus, StatusDetail, StoppedHow, Trigger
from shared.models import Origin, Run, RunEvent
from shared.runs import leases, moves, receipts, transitions
from shared.runs.queries import lease_lapsed
from tests.support.dispatching import RecordingDispatcher

LEASE = timedelta(seconds=20)
ARTIFACT = {"type": "TextArtifact", "value": "hello"}

PATHS = {
    RunStatus.QUEUED: [],
    RunStatus.STARTING: [Trigger.CLAIM],
    RunStatus.RUNNING: [Trigger.CLAIM, Trigger.START],
    RunStatus.SUCCEEDED: [Trigger.CLAIM, Trigger.START, Trigger.SUCCEED],
    RunStatus.FAILED: [Trigger.CLAIM, Trigger.START, Trigger.FAIL],
    RunStatus.ERROR: [Trigger.BREAK],
    RunStatus.CANCELLED: [Trigger.CANCEL],
}


WHY = {"detail": StatusDetail(Reason.INTERNAL_ERROR, "why")}
MOVES = {
    Trigger.CLAIM: partial(moves.claim, worker="w", lease_ttl=LEASE),
    Trigger.START: moves.start,
    Trigger.SUCCEED: partial(moves.succeed, **WHY, output=ARTIFACT),
    Trigger.FAIL: partial(moves.fail, **WHY),
    Trigger.BREAK: partial(moves.break_, **WHY),
    Trigger.REQUEUE: partial(moves.requeue, **WHY),
    Trigger.CANCEL: partial(moves.cancel, requested_by="me"),
}


def move(session, run_id, trigger):
    """Make a move of the run's present attempt, of the one it waits for, or of whichever (CANCEL)."""
    row = session.execute(select(Run.status, Run.attempt).where(Run.id == run_id)).one()
    number = None if trigger is Trigger.CANCEL else row.attempt + (row.status is RunStatus.QUEUED)
    return MOVES[trigger](session, RecordingDispatcher(), run_id, attempt=number)


def bring(sessions, run_id, status):
    for trigger in PATHS[status]:
        with unit_of_work(sessions) as session:
            move(session, run_id, trigger)


def status_of(sessions, run_id):
    with sessions() as session:
        return session.scalar(select(Run.status).where(Run.id == run_id))


@pytest.mark.parametrize(("status", "trigger"), list(product(RunStatus, Trigger)))
def test_every_status_and_trigger_obeys_the_table(sessions, make_run, status, trigger):
    run = make_run()
    bring(sessions, run.id, status)
    target = TRANSITIONS[trigger].get(status)
    if target is None:
        with pytest.raises(TransitionRefusedError) as refusal, unit_of_work(sessions) as session:
            move(session, run.id, trigger)
        assert refusal.value.status == status
        assert status_of(sessions, run.id) == status
    else:
        with unit_of_work(sessions) as session:
            assert move(session, run.id, trigger).status == target
        assert status_of(sessions, run.id) == target


def test_an_unknown_run_is_named(sessions):
    with pytest.raises(RunNotFoundError), unit_of_work(sessions) as session:
        transitions.apply(session, uuid.uuid4(), Trigger.CANCEL)


def test_eight_workers_racing_to_claim_one_run_one_wins(committed_sessions, make_run):
    run = make_run()
    barrier, outcomes = threading.Barrier(8), []

    def claim(number):
        barrier.wait()
        try:
            with unit_of_work(committed_sessions) as session:
                moves.claim(
                    session, RecordingDispatcher(), run.id, attempt=1, worker=f"w{number}", lease_ttl=LEASE
                )
            outcomes.append("won")
        except TransitionRefusedError:
            outcomes.append("lost")

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["lost"] * 7 + ["won"]
    with committed_sessions() as session:
        assert session.scalar(select(Run.attempt).where(Run.id == run.id)) == 1


def test_a_run_reaches_exactly_one_terminal_status(committed_sessions, make_run):
    """Promise 2: of all endings racing for one run exactly one is recorded, with one last event."""
    run = make_run()
    bring(committed_sessions, run.id, RunStatus.RUNNING)
    triggers = [Trigger.SUCCEED, Trigger.FAIL, Trigger.BREAK, Trigger.CANCEL] * 3
    barrier, won = threading.Barrier(len(triggers)), []

    def end(trigger):
        barrier.wait()
        try:
            with unit_of_work(committed_sessions) as session:
                won.append(move(session, run.id, trigger).status)
        except TransitionRefusedError:
            pass

    threads = [threading.Thread(target=end, args=(trigger,)) for trigger in triggers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert status_of(committed_sessions, run.id) == won[0]
    with committed_sessions() as session:
        events = log.read(session, run.id, start=0, limit=100).events
    assert [event.seq for event in events] == list(range(len(events)))
    assert [event.is_last for event in events].count(True) == 1
    assert events[-1].is_last


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_no_event_can_be_written_after_the_terminal_one(sessions, make_run, status):
    run = make_run()
    bring(sessions, run.id, status)
    with sessions() as session:
        attempt = session.scalar(select(Run.attempt).where(Run.id == run.id))
    late = NewEvent(Origin.ASSISTANT, "TextChunkEvent", {"type": "TextChunkEvent", "token": "late"})
    with pytest.raises(LeaseLostError) as lost, unit_of_work(sessions) as session:
        log.append(session, run.id, [late], attempt=attempt)
    assert lost.value.status == status
    with sessions() as session:
        assert log.read(session, run.id, start=0, limit=100).events[-1].is_last


def test_an_older_attempt_can_write_nothing(sessions, make_run):
    run = make_run()
    bring(sessions, run.id, RunStatus.RUNNING)
    with unit_of_work(sessions) as session:
        transitions.apply(session, run.id, Trigger.REQUEUE, attempt=1)
    with unit_of_work(sessions) as session:
        moves.claim(session, RecordingDispatcher(), run.id, attempt=2, worker="other", lease_ttl=LEASE)
    event = NewEvent(Origin.ASSISTANT, "X", {"type": "X"})
    with pytest.raises(LeaseLostError), unit_of_work(sessions) as session:
        log.append(session, run.id, [event], attempt=1)
    with pytest.raises(TransitionRefusedError), unit_of_work(sessions) as session:
        transitions.apply(session, run.id, Trigger.START, attempt=1)
    with unit_of_work(sessions) as session:
        renewal = leases.renew(session, {run.id: 1}, lease_ttl=LEASE)
    assert renewal.lost == {run.id: RunStatus.STARTING}


def test_an_attempt_cannot_break_the_run_after_it_was_requeued(sessions, make_run):
    run = make_run()
    bring(sessions, run.id, RunStatus.RUNNING)
    with unit_of_work(sessions) as session:
        move(session, run.id, Trigger.REQUEUE)
    with pytest.raises(TransitionRefusedError), unit_of_work(sessions) as session:
        moves.break_(session, RecordingDispatcher(), run.id, attempt=1, **WHY)
    assert status_of(sessions, run.id) is RunStatus.QUEUED


def test_a_claim_for_an_attempt_that_has_begun_is_refused(sessions, make_run):
    run = make_run()
    bring(sessions, run.id, RunStatus.STARTING)
    with unit_of_work(sessions) as session:
        transitions.apply(session, run.id, Trigger.REQUEUE, attempt=1)
    with pytest.raises(TransitionRefusedError), unit_of_work(sessions) as session:
        moves.claim(session, RecordingDispatcher(), run.id, attempt=1, worker="late", lease_ttl=LEASE)


@pytest.mark.parametrize(
    ("status", "attempt", "is_hit"),
    [
        (RunStatus.QUEUED, 1, True),  # revoked while it waited in the queue
        (RunStatus.QUEUED, 2, False),
        (RunStatus.RUNNING, 1, True),
        (RunStatus.RUNNING, 2, False),
        (RunStatus.RUNNING, 0, False),
    ],
)
def test_a_revoke_of_an_attempt_cancels_that_attempt_only(sessions, make_run, status, attempt, is_hit):
    run = make_run()
    bring(sessions, run.id, status)
    try:
        with unit_of_work(sessions) as session:
            transitions.apply(session, run.id, Trigger.CANCEL, attempt=attempt)
    except TransitionRefusedError:
        assert not is_hit
    assert (status_of(sessions, run.id) is RunStatus.CANCELLED) == is_hit


def test_a_cancel_before_any_worker_is_complete_at_once(sessions, make_run):
    run = make_run()
    with unit_of_work(sessions) as session:
        cancelled = move(session, run.id, Trigger.CANCEL)
    assert cancelled.status_detail["stopped_how"] == StoppedHow.NEVER_STARTED
    assert cancelled.status_detail["requested_by"] == "me"
    assert cancelled.status_detail["stopped_at"] == cancelled.status_detail["requested_at"]
    assert not cancelled.is_stopping


def test_a_cancel_of_held_work_is_completed_once_by_its_own_attempt(sessions, make_run):
    run = make_run()
    bring(sessions, run.id, RunStatus.RUNNING)
    with unit_of_work(sessions) as session:
        cancelled = move(session, run.id, Trigger.CANCEL)
        assert cancelled.is_stopping
        assert cancelled.status_detail["stopped_how"] is None
    with unit_of_work(sessions) as session:
        assert not receipts.record_stop(session, run.id, StoppedHow.KILLED, attempt=2)
        usage = {"input_tokens": 3}
        assert receipts.record_stop(session, run.id, StoppedHow.COOPERATIVE, attempt=1, usage=usage)
        assert not receipts.record_stop(session, run.id, StoppedHow.KILLED, attempt=1)
    with sessions() as session:
        stopped = session.get_one(Run, run.id)
    assert stopped.status_detail["stopped_how"] == "cooperative"
    assert stopped.status_detail["stopped_at"] >= stopped.status_detail["requested_at"]
    assert stopped.usage == {"input_tokens": 3}
    assert not stopped.is_stopping
    assert stopped.lease_expires_at is None


def test_a_lease_that_lapsed_is_renewed_while_nobody_took_the_run(sessions, make_run):
    run = make_run()
    bring(sessions, run.id, RunStatus.RUNNING)
    with unit_of_work(sessions) as session:
        session.execute(
            update(Run).where(Run.id == run.id).values(lease_expires_at=func.now() - timedelta(minutes=1))
        )
    with unit_of_work(sessions) as session:
        assert leases.renew(session, {run.id: 1}, lease_ttl=LEASE).kept == {run.id}
    with sessions() as session:
        assert session.scalar(select(Run.lease_expires_at > func.now()).where(Run.id == run.id))


def test_the_lease_of_a_cancelled_run_is_renewed_until_its_work_has_stopped(sessions, make_run):
    """Its worker may take longer over that than a lease."""
    run = make_run(status=RunStatus.RUNNING)
    with unit_of_work(sessions) as session:
        moves.cancel(session, RecordingDispatcher(), run.id, requested_by="ada")
        session.execute(
            update(Run).where(Run.id == run.id).values(lease_expires_at=func.now() - timedelta(minutes=1))
        )
    lost = leases.Renewal(frozenset(), {run.id: RunStatus.CANCELLED})
    for attempt, is_renewed in ((2, False), (1, True)):
        with unit_of_work(sessions) as session:
            assert leases.renew(session, {run.id: attempt}, lease_ttl=LEASE) == lost
        with sessions() as session:
            assert session.get_one(Run, run.id).is_stopping
            assert session.scalar(select(lease_lapsed()).where(Run.id == run.id)) is not is_renewed
    with unit_of_work(sessions) as session:
        receipts.record_stop(session, run.id, StoppedHow.COOPERATIVE, attempt=1)
        assert leases.renew(session, {run.id: 1}, lease_ttl=LEASE) == lost
        assert session.get_one(Run, run.id, populate_existing=True).lease_expires_at is None


def test_a_locked_run_neither_loses_its_lease_nor_holds_up_the_others(committed_sessions, make_run):
    locked, gone, other = (make_run(status=RunStatus.RUNNING) for _ in range(3))
    held = {run.id: 1 for run in (locked, gone, other)}
    with unit_of_work(committed_sessions) as session:
        session.delete(session.get_one(Run, gone.id))
    with unit_of_work(committed_sessions) as somebody:
        somebody.scalar(select(Run.id).where(Run.id == locked.id).with_for_update())
        with unit_of_work(committed_sessions) as session:
            session.execute(text("SET LOCAL lock_timeout = '5s'"))
            renewal = leases.renew(session, held, lease_ttl=LEASE)
        assert (renewal.kept, renewal.lost) == ({other.id}, {gone.id: None})
    with unit_of_work(committed_sessions) as session:
        renewal = leases.renew(session, held, lease_ttl=LEASE)
    assert renewal.kept == {locked.id, other.id}


@pytest.mark.parametrize(
    "wrong",
    [
        "status = 'DONE'",
        "status = 'SUCCEEDED', completed_at = now(), started_at = now()",  # no output
        "status = 'FAILED', completed_at = now()",  # never started
        "status = 'CANCELLED'",  # no end
        "completed_at = now()",  # an end, but not terminal
        "status = 'RUNNING', started_at = now()",  # no worker
        "lease_expires_at = now()",  # nobody holds it
        "is_stopping = true",
        "attempt = -1",
        "losses = 1",
    ],
)
def test_the_database_refuses_a_row_that_cannot_be(sessions, make_run, wrong):
    run = make_run()
    with pytest.raises(IntegrityError), unit_of_work(sessions) as session:
        session.execute(text(f"UPDATE runs SET {wrong} WHERE id = :id"), {"id": run.id})


def test_a_run_has_one_last_event_and_one_finish(sessions, make_run):
    run = make_run()
    bring(sessions, run.id, RunStatus.SUCCEEDED)
    for kind, origin in (
        ("AssistantRunCompleted", Origin.SYSTEM),
        ("FinishStructureRunEvent", Origin.ASSISTANT),
    ):
        with pytest.raises(IntegrityError), unit_of_work(sessions) as session:
            log.insert_at(session, run.id, [NewEvent(origin, kind, {})], first_seq=99)


@pytest.mark.parametrize("status", sorted(set(RunStatus)))
def test_the_log_of_every_status_is_whole(sessions, make_run, status):
    run = make_run()
    bring(sessions, run.id, status)
    with sessions() as session:
        page = log.read(session, run.id, start=0, limit=100)
        count = session.scalar(select(func.count()).where(RunEvent.run_id == run.id))
    assert [event.seq for event in page.events] == list(range(page.total))
    assert count == page.total
    assert page.is_closed == (status in TERMINAL)
    assert page.events[0].type == "AssistantRunQueued"
    if status in TERMINAL:
        finishes = [event for event in page.events if event.type == "FinishStructureRunEvent"]
        assert len(finishes) == 1
        assert isinstance(finishes[0].payload["output_task_output"]["value"], str)
    if status in HELD:
        assert page.events[-1].payload["status"] == status

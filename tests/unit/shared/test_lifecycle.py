"""The lifecycle as a whole: every trigger, every status."""

import uuid
from itertools import product

import pytest

from shared.lifecycle import (
    HELD,
    TERMINAL,
    TRANSITIONS,
    EventType,
    Origin,
    Reason,
    RunKind,
    RunStatus,
    StatusDetail,
    Trigger,
    is_last,
)
from shared.models import Run
from shared.runs.transition_events import EVENTS_OF, events_of

LEGAL = {
    (RunStatus.QUEUED, Trigger.CLAIM): RunStatus.STARTING,
    (RunStatus.STARTING, Trigger.START): RunStatus.RUNNING,
    (RunStatus.RUNNING, Trigger.SUCCEED): RunStatus.SUCCEEDED,
    (RunStatus.RUNNING, Trigger.FAIL): RunStatus.FAILED,
    (RunStatus.QUEUED, Trigger.BREAK): RunStatus.ERROR,
    (RunStatus.STARTING, Trigger.BREAK): RunStatus.ERROR,
    (RunStatus.RUNNING, Trigger.BREAK): RunStatus.ERROR,
    (RunStatus.STARTING, Trigger.REQUEUE): RunStatus.QUEUED,
    (RunStatus.RUNNING, Trigger.REQUEUE): RunStatus.QUEUED,
    (RunStatus.QUEUED, Trigger.CANCEL): RunStatus.CANCELLED,
    (RunStatus.STARTING, Trigger.CANCEL): RunStatus.CANCELLED,
    (RunStatus.RUNNING, Trigger.CANCEL): RunStatus.CANCELLED,
}


@pytest.mark.parametrize(("status", "trigger"), list(product(RunStatus, Trigger)))
def test_only_the_legal_moves_are_in_the_table(status, trigger):
    assert TRANSITIONS[trigger].get(status) == LEGAL.get((status, trigger))


def test_four_statuses_are_terminal():
    assert {RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.ERROR, RunStatus.CANCELLED} == TERMINAL


@pytest.mark.parametrize("status", sorted(set(RunStatus) - TERMINAL))
def test_every_status_can_still_be_ended(status):
    reached, frontier = set(), {status}
    while frontier:
        reached |= frontier
        frontier = {
            target for moves in TRANSITIONS.values() for source, target in moves.items() if source in frontier
        } - reached
    assert reached & TERMINAL


def test_a_run_can_be_cancelled_from_every_status_that_is_not_terminal():
    assert set(TRANSITIONS[Trigger.CANCEL]) == set(RunStatus) - TERMINAL


def test_a_worker_holds_exactly_what_it_can_give_back():
    assert set(TRANSITIONS[Trigger.REQUEUE]) == HELD


def test_every_trigger_has_events():
    assert set(EVENTS_OF) == set(RunKind)
    for of_triggers in EVENTS_OF.values():
        assert set(of_triggers) == set(Trigger) == set(TRANSITIONS)


@pytest.mark.parametrize(("kind", "trigger"), list(product(RunKind, Trigger)))
def test_a_log_ends_with_the_last_event_of_an_ending_and_no_other(kind, trigger):
    status = next(iter(TRANSITIONS[trigger].values()))
    subject = {"assistant_id": uuid.uuid4()} if kind is RunKind.ASSISTANT else {"structure_id": uuid.uuid4()}
    events = events_of(Run(id=uuid.uuid4(), status=status, attempt=1, **subject), trigger)
    assert {event.type for event in events} <= set(EventType)
    ends = [is_last(event.type, event.origin) for event in events]
    assert ends == [False] * (len(events) - 1) + [status in TERMINAL]


def test_a_program_cannot_write_the_last_event():
    assert not is_last(EventType.STRUCTURE_COMPLETED, Origin.USER)


def test_a_status_detail_keeps_its_reason_and_message_whatever_else_it_holds():
    more = {"reason": "Completed", "message": "All is well.", "exit_code": 3}
    detail = StatusDetail(Reason.STRUCTURE_FAILED, "It broke.", **more)
    assert detail == {"reason": "StructureFailed", "message": "It broke.", "exit_code": 3}

"""The lifecycle as a whole: every trigger, every status."""

from itertools import product

import pytest

from shared.runs.lifecycle import HELD, TERMINAL, TRANSITIONS, RunKind, RunStatus, Trigger
from shared.runs.narration import NARRATION

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


def test_every_trigger_is_narrated():
    assert set(NARRATION) == set(RunKind)
    for narrators in NARRATION.values():
        assert set(narrators) == set(Trigger) == set(TRANSITIONS)

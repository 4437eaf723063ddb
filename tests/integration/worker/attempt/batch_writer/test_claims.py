"""Which messages begin a run, whatever else begins in the same batch."""

import pytest

from shared.db import unit_of_work
from shared.lifecycle import Reason, StatusDetail
from shared.runs import moves
from shared.threads import service as threads
from tests.support.batched_runs import PATIENCE, answering, check_whole, let_die, masked
from tests.support.slots import FakeSlot
from tests.support.waiting import wait_until
from worker.attempt.conclusion import Ending
from worker.attempt.execution import execute


def test_of_two_messages_for_one_run_in_one_process_exactly_one_begins(
    start, make_run, gate, asked, events_of
):
    run = make_run()
    gate.clear()
    both = [start(answering(3), run) for _ in range(2)]
    other = start(answering(3))
    wait_until(lambda: len(asked) == 3, timeout=PATIENCE)
    gate.set()
    assert {one.join() for one in both} == {Ending.SUCCEEDED, Ending.NOT_CLAIMED}
    assert other.join() is Ending.SUCCEEDED
    check_whole(events_of(run), range(3))


def test_of_two_attempts_of_one_run_in_one_process_only_the_next_begins(
    start, make_run, gate, resources, events_of
):
    run = make_run()
    gate.clear()
    first, second = start(answering(3), run, attempt=1), start(answering(3), run, attempt=2)
    wait_until(lambda: len(resources.batches._requests) >= 1, timeout=PATIENCE)
    gate.set()
    assert (first.join(), second.join()) == (Ending.SUCCEEDED, Ending.NOT_CLAIMED)
    check_whole(events_of(run), range(3))


@pytest.mark.parametrize("way", ["cancelled", "expired", "another attempt", "waits for its thread"])
def test_a_run_that_may_not_begin_is_not_claimed(
    resources, make_run, factories, committed_sessions, dispatcher, events_of, logged, way
):
    def refused():
        thread_id, attempt = None, 1
        if way == "waits for its thread":
            with unit_of_work(committed_sessions) as session:
                thread_id = threads.create(session, factories.default_principal(), {"name": "talk"}).id
            make_run(thread_id=thread_id)
        run = make_run(thread_id=thread_id) if thread_id else make_run()
        with unit_of_work(committed_sessions) as session:
            match way:
                case "cancelled":
                    moves.cancel(session, dispatcher, run.id, requested_by="me")
                case "expired":
                    detail = StatusDetail(Reason.INTERNAL_ERROR, "It waited for too long.")
                    moves.break_(session, dispatcher, run.id, attempt=1, detail=detail)
                case "another attempt":
                    attempt = 2
        before = events_of(run)
        with logged("worker.attempt.execution.log") as lines:
            assert execute(resources, run.id, attempt, FakeSlot(), resolve=lambda *_: answering()) is (
                Ending.NOT_CLAIMED
            )
        assert events_of(run) == before
        return [(name, args, masked(kwargs, run)) for name, args, kwargs in lines if name != "debug"]

    together = refused()
    let_die(resources.batches)
    assert together == refused()
    assert [args for _, args, _ in together] == [("run not claimed",)]

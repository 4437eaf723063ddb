"""An end comes after all that its run has emitted, wherever that is by then."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from shared.db import unit_of_work
from shared.lifecycle import RunStatus, Trigger
from shared.models import Run
from tests.support.batched_runs import ANSWER, DETAIL, PATIENCE, check_whole, numbers_of, say
from tests.support.waiting import wait_until
from worker.attempt.conclusion import Ending
from worker.attempt.event_writer import EventWriter
from worker.cancellation import RunStopped, StopReason


def test_a_writer_that_has_ended_takes_no_event(hold, make_run, events_of):
    held = hold(make_run(status=RunStatus.RUNNING))
    writer = EventWriter(held)
    writer.emit(say(0))
    assert writer.end(Trigger.SUCCEED, detail=DETAIL, output=ANSWER)
    with pytest.raises(RunStopped):
        writer.emit(say(1))
    writer.close()
    check_whole(events_of(held), [0])


@pytest.mark.parametrize("is_ended", [True, False])
def test_a_writer_that_has_kept_a_declined_batch_stores_it_first(
    hold, make_run, gate, committed_sessions, events_of, is_ended
):
    """Its token is fired when its work has ended already, so that it makes its end all the same."""
    held = hold(make_run(status=RunStatus.RUNNING))
    writer = EventWriter(held)
    gate.clear()
    with unit_of_work(committed_sessions) as session:
        session.execute(select(Run.id).where(Run.id == held.id).with_for_update())
        writer.emit(say(0))
        wait_until(lambda: writer._under_way is not None, timeout=PATIENCE)
        writer.emit(say(1))
        held.token.cancel(StopReason.CANCELLED)
        gate.set()
        wait_until(lambda: writer._is_kept, timeout=PATIENCE)
    if is_ended:
        assert writer.end(Trigger.SUCCEED, detail=DETAIL, output=ANSWER)
    else:
        writer.close()
    assert numbers_of(events_of(held)) == [0, 1]


def test_what_was_declined_before_a_revoke_is_stored_before_the_end(
    start, reload, gate, ticks, events_of, cancel_all, committed_sessions
):
    """Somebody has locked the run: its batch is declined, and the run has not ended, as it seemed."""
    spoken, go_on = threading.Semaphore(0), threading.Event()

    def executor(context, emit):
        assert go_on.wait(PATIENCE)
        emit(say(0))
        spoken.release()
        context.token.wait(PATIENCE)
        context.token.raise_if_cancelled()

    one = start(executor)
    wait_until(lambda: reload(one.run).status is RunStatus.RUNNING, timeout=PATIENCE)
    gate.clear()
    go_on.set()
    assert spoken.acquire(timeout=PATIENCE)
    with unit_of_work(committed_sessions) as session:
        session.execute(select(Run.id).where(Run.id == one.run.id).with_for_update())
        cancel_all([one], is_by_api=False)
        gate.set()
        wait_until(lambda: any(tick["stops"] for tick in ticks), timeout=PATIENCE)
    assert one.join() is Ending.CANCELLED
    check_whole(events_of(one.run), [0])


def test_an_end_waits_for_what_a_tick_takes_at_that_moment(
    hold, make_run, gate, monkeypatch, committed_sessions, events_of
):
    """The tick declines it, as somebody has locked the run, and it is stored alone."""
    held = hold(make_run(status=RunStatus.RUNNING))
    writer = EventWriter(held)
    writer.emit(say(0))
    wait_until(lambda: numbers_of(events_of(held)) == [0], timeout=PATIENCE)
    settle, take, asks = writer._settle, writer.take, held.resources.batches.end
    settled, asked = threading.Event(), threading.Event()

    def settle_before_a_tick():
        settle()
        settled.set()
        wait_until(lambda: writer._under_way is not None, timeout=PATIENCE)

    def take_late():
        assert settled.wait(PATIENCE)
        return take()

    def ask(*given):
        asked.set()
        return asks(*given)

    monkeypatch.setattr(writer, "_settle", settle_before_a_tick)
    monkeypatch.setattr(writer, "take", take_late)
    monkeypatch.setattr(held.resources.batches, "end", ask)
    gate.clear()
    with ThreadPoolExecutor(1) as threads:
        with unit_of_work(committed_sessions) as session:
            session.execute(select(Run.id).where(Run.id == held.id).with_for_update())
            writer.emit(say(1))
            ending = threads.submit(writer.end, Trigger.SUCCEED, detail=DETAIL, output=ANSWER)
            wait_until(lambda: writer._under_way is not None, timeout=PATIENCE)
            gate.set()
            assert not asked.wait(0.5)
        assert ending.result(PATIENCE)
    check_whole(events_of(held), [0, 1])


def test_threads_that_emit_while_their_run_ends_lose_nothing_that_was_taken(hold, make_run, events_of):
    held = hold(make_run(status=RunStatus.RUNNING))
    writer, taken = EventWriter(held), []

    def work(first):
        for number in range(first, first + 1_000_000):
            try:
                writer.emit(say(number))
            except RunStopped:
                return
            taken.append(number)

    threads = [threading.Thread(target=work, args=(n * 1_000_000,), daemon=True) for n in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(taken) > 300, timeout=PATIENCE)
    assert writer.end(Trigger.SUCCEED, detail=DETAIL, output=ANSWER)
    for thread in threads:
        thread.join(PATIENCE)
    events = events_of(held)
    assert sorted(numbers_of(events)) == sorted(taken)
    assert [one.seq for one in events] == list(range(len(events)))
    assert events[-1].is_last

"""Runs lose nothing while PostgreSQL takes no writes, or once the batch writer is gone."""

import threading
from datetime import timedelta

import pytest

from shared.lifecycle import RunStatus
from shared.processes.vitals import Vitals
from shared.runs import moves
from tests.support.batched_runs import ANSWER, MANY, PATIENCE, check_whole, numbers_of, say
from tests.support.refusals import refusing_writes
from tests.support.waiting import wait_until
from worker.attempt import batch_writer, event_writer
from worker.attempt.conclusion import Ending
from worker.attempt.event_writer import EventWriter
from worker.cancellation import CancelToken
from worker.executors.base import Succeeded


def test_many_runs_outlive_a_database_that_only_reads_and_lose_nothing(
    start, make_run, services, committed_settings, events_of
):
    runs = [make_run() for _ in range(20)]
    spoken, go_on = threading.Semaphore(0), threading.Event()

    def executor(_context, emit):
        emit(say(0))
        spoken.release()
        assert go_on.wait(PATIENCE)
        for number in range(1, 150):
            emit(say(number))
        spoken.release()
        return Succeeded(ANSWER)

    begun = [start(executor, run) for run in runs]
    assert all(spoken.acquire(timeout=PATIENCE) for _ in runs)
    with refusing_writes(services, committed_settings):
        go_on.set()
        assert all(spoken.acquire(timeout=PATIENCE) for _ in runs)
    assert [one.join() for one in begun] == [Ending.SUCCEEDED] * 20
    for run in runs:
        check_whole(events_of(run), range(150))


def test_an_executor_waits_while_its_run_may_buffer_nothing_more(
    hold, make_run, services, committed_settings, monkeypatch, events_of
):
    monkeypatch.setattr(event_writer, "BUFFER_BYTES", 10_000)
    held = hold(make_run(status=RunStatus.RUNNING))
    writer, said = EventWriter(held), []

    def work():
        for number in range(60):
            writer.emit(say(number, text="x" * 1000))
            said.append(number)

    thread = threading.Thread(target=work, daemon=True)
    with refusing_writes(services, committed_settings):
        thread.start()
        wait_until(lambda: writer._buffered_bytes > 10_000, timeout=PATIENCE)
        assert len(said) < 60
        assert writer._buffered_bytes < 12_000
    thread.join(PATIENCE)
    writer.close()
    assert numbers_of(events_of(held)) == list(range(60))


def test_runs_go_on_alone_once_the_batch_writer_is_dead(
    start, make_run, gate, monkeypatch, resources, events_of, reload
):
    vitals, dead = Vitals(), []
    vitals.on_death(lambda: dead.append(1))
    monkeypatch.setattr(batch_writer, "vitals", vitals)
    runs = [make_run() for _ in range(MANY)]
    speak = threading.Event()

    def executor(_context, emit):
        assert speak.wait(PATIENCE)
        for number in range(100):
            emit(say(number))
        return Succeeded(ANSWER)

    def die(*_, **__):
        raise SystemExit

    half = [start(executor, run) for run in runs[:20]]
    wait_until(lambda: all(reload(run).status is RunStatus.RUNNING for run in runs[:20]), timeout=PATIENCE)
    monkeypatch.setattr(moves, "store_together", die)
    gate.clear()
    speak.set()
    rest = [start(executor, run) for run in runs[20:]]
    wait_until(lambda: resources.batches._requests and resources.batches._due, timeout=PATIENCE)
    gate.set()
    assert {one.join() for one in half + rest} == {Ending.SUCCEEDED}
    for run in runs:
        check_whole(events_of(run), range(100))
    assert (vitals.dead, dead) == (("batch-writer",), [1])


@pytest.mark.parametrize(
    "setting_overrides",
    [
        {
            "lease_ttl": timedelta(seconds=0.5),
            "heartbeat": timedelta(seconds=0.1),
            "database_outage_grace": timedelta(seconds=0.5),
        }
    ],
    indirect=True,
)
def test_a_tick_without_end_ends_the_process(resources, make_run, monkeypatch):
    """Its connection neither answers nor breaks, and all runs of the process wait for it."""
    vitals, dead = Vitals(), threading.Event()
    vitals.on_death(dead.set)
    monkeypatch.setattr("worker.attempt.lease.vitals", vitals)
    with resources.batches.between_ticks(), resources.leases.hold(make_run().id, 1, CancelToken()):
        assert dead.wait(PATIENCE)
    assert vitals.dead == ("leases",)


def test_a_closed_batch_writer_leaves_nothing_behind(hold, make_run, resources, events_of):
    held = hold(make_run(status=RunStatus.RUNNING))
    writer = EventWriter(held)
    writer.emit(say(0))
    wait_until(lambda: numbers_of(events_of(held)) == [0], timeout=PATIENCE)
    writer.emit(say(1))
    resources.batches.close()
    writer.close()
    assert numbers_of(events_of(held)) == [0, 1]
    assert not resources.batches.begin(make_run().id, 1, lambda _run: True)

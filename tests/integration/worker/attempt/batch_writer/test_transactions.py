"""Runs of a process are begun, recorded and ended in few transactions, none of which takes too much."""

import pytest

from shared.lifecycle import RunStatus
from tests.support.batched_runs import ANSWER, MANY, PATIENCE, SELDOM, Speaking, answering, numbers_of, say
from tests.support.waiting import wait_until
from worker.attempt.batch_writer import ALONE_BYTES, TICK_BYTES
from worker.attempt.conclusion import Ending
from worker.attempt.event_writer import EventWriter
from worker.executors.base import Succeeded


@pytest.mark.parametrize("setting_overrides", [SELDOM])
@pytest.mark.parametrize(("words", "transactions", "round_trips"), [(0, 2, 10), (20, 3, 15)])
def test_a_run_costs_few_transactions_and_few_round_trips(
    start, traffic, reload, words, transactions, round_trips
):
    one = start(answering(words))
    assert one.join() is Ending.SUCCEEDED
    wait_until(lambda: traffic[-1] == "COMMIT", timeout=PATIENCE)
    renewals = [said for said in traffic if "UPDATE runs SET lease_expires_at" in said]
    assert renewals == []
    assert traffic.count("COMMIT") <= transactions, traffic
    assert len(traffic) <= round_trips, traffic
    assert reload(one.run).status is RunStatus.SUCCEEDED


def test_runs_that_begin_together_need_fewer_transactions_than_there_are_runs(
    start, make_run, gate, asked, ticks, reload
):
    runs = [make_run() for _ in range(MANY)]
    gate.clear()
    begun = [start(answering(), run) for run in runs]
    wait_until(lambda: len(asked) == MANY, timeout=PATIENCE)  # a few of them are at the gate already
    gate.set()
    assert [one.join() for one in begun] == [Ending.SUCCEEDED] * MANY
    assert sum(bool(tick["begins"]) for tick in ticks) < MANY / 2
    assert {reload(run).status for run in runs} == {RunStatus.SUCCEEDED}


@pytest.mark.parametrize("setting_overrides", [SELDOM])
def test_runs_that_are_cancelled_at_one_moment_stop_in_few_transactions(
    start, reload, traffic, gate, asked, events_of, cancel_all
):
    speaking = Speaking()
    begun = [start(speaking) for _ in range(MANY)]
    speaking.go_on([one.run for one in begun], events_of)
    gate.clear()
    asked.clear()
    traffic.clear()
    cancel_all(begun, is_by_api=True)
    wait_until(lambda: len(asked) == MANY, timeout=PATIENCE)
    gate.set()
    assert {one.join() for one in begun} == {Ending.CANCELLED}
    assert {reload(one.run).status_detail["stopped_how"] for one in begun} == {"cooperative"}
    assert traffic.count("COMMIT") <= 3


def test_no_transaction_takes_more_than_its_bytes(hold, make_run, gate, ticks, events_of):
    held = [hold(make_run(status=RunStatus.RUNNING)) for _ in range(12)]
    writers = [EventWriter(one) for one in held]
    sizes = [2 * ALONE_BYTES if n == 5 else ALONE_BYTES * 2 // 3 for n in range(len(held))]
    gate.clear()
    for writer, size in zip(writers, sizes, strict=True):
        writer.emit(say(0, text="x" * size))
        writer.emit(say(1))
    gate.set()
    for writer in writers:
        writer.close()
    assert [numbers_of(events_of(one)) for one in held] == [[0, 1]] * len(held)
    batches = [[batch.size for batch in tick["appends"]] for tick in ticks]
    assert max(map(len, batches)) >= 2
    assert max(map(sum, batches)) <= TICK_BYTES + ALONE_BYTES
    assert max(max(batch, default=0) for batch in batches) <= ALONE_BYTES


def test_an_end_of_many_bytes_is_made_alone(start, ticks, reload):
    answer = {**ANSWER, "value": "x" * (ALONE_BYTES + 1)}
    one = start(lambda *_: Succeeded(answer))
    assert one.join() is Ending.SUCCEEDED
    assert reload(one.run).output == answer
    assert [tick["ends"] for tick in ticks if tick["ends"]] == []

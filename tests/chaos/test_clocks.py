"""Workers whose clock is minutes off."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.faults import kill
from tests.support.invariants import (
    await_words,
    check_runs,
    check_taken_over,
    holder_of,
    read_row,
)
from tests.support.llm_stub import stalling_model
from tests.support.stack import Stack
from tests.support.waiting import wait_until
from tests.support.workers import Worker

pytestmark = [pytest.mark.full_length, pytest.mark.timeout(300)]

WRONG_CLOCK = Path(__file__).parents[1] / "support" / "wrong_clock"
LEASE = 3.0  # seconds, as the stack has it


def clock_error(worker: Worker) -> float:
    """By how many seconds the times in a worker's log are ahead of ours."""
    line = json.loads([line for line in worker.log.splitlines() if " ready." in line][-1])
    return (datetime.fromisoformat(line["timestamp"]) - datetime.now(UTC)).total_seconds()


@pytest.mark.parametrize("minutes", [10, -10])
def test_leases_are_kept_and_lapse_by_the_clock_of_the_database(
    broken_stack: Stack, new_worker: Callable[..., Worker], database_url: str, minutes: int
) -> None:
    stack = broken_stack
    wrong = new_worker(
        "--concurrency=10", processes=2, PYTHONPATH=str(WRONG_CLOCK), WRONG_CLOCK=str(minutes * 60)
    )
    assert clock_error(wrong) == pytest.approx(minutes * 60, abs=30)
    kept = stack.create_run(args=["Hi"], model="openai/words-90-50")
    await_words(database_url, kept)
    assert 0 < read_row(database_url, kept)["lease"] <= LEASE
    # It outlives its first lease.
    assert stack.wait_for(kept)["status"] == "SUCCEEDED"
    assert read_row(database_url, kept)["attempt"] == 1
    lost = stack.create_run(args=["Hi"], model=stalling_model(20))
    await_words(database_url, lost)
    kill(holder_of(database_url, lost))
    wait_until(lambda: read_row(database_url, lost)["attempt"] == 2, timeout=LEASE + 60, what="attempt 2")
    assert stack.wait_for(lost)["status"] == "SUCCEEDED"
    check_taken_over(database_url, lost, words=20)
    check_runs(database_url, [kept, lost])

"""Workers that die, and workers that sleep past their lease and wake."""

import psutil
import pytest

from tests.support.faults import family, frozen, kill, lives
from tests.support.invariants import (
    await_words,
    check_runs,
    check_taken_over,
    holder_of,
    read_events,
    read_row,
)
from tests.support.llm_stub import LlmStub, stalling_model
from tests.support.stack import Stack
from tests.support.waiting import wait_until
from tests.support.workers import Worker

pytestmark = [pytest.mark.full_length, pytest.mark.timeout(300)]


def test_a_killed_worker_costs_its_runs_an_attempt_and_nothing_else(
    broken_stack: Stack, workers: Worker, database_url: str
) -> None:
    """Promise 3. The system's out-of-memory killer sends the same signal: SIGKILL, without a warning."""
    stack = broken_stack
    models = [stalling_model(40), *["openai/words-40-50"] * 3]
    run_ids = [stack.create_run(args=["Hi"], model=model) for model in models]
    await_words(database_url, run_ids[0])
    kill(holder_of(database_url, run_ids[0]))
    runs = [stack.wait_for(run_id, timeout=60) for run_id in run_ids]
    assert [run["status"] for run in runs] == ["SUCCEEDED"] * 4
    check_taken_over(database_url, run_ids[0], words=40)
    check_runs(database_url, run_ids)


def test_a_worker_that_dies_of_every_attempt_ends_the_run(
    broken_stack: Stack, workers: Worker, database_url: str
) -> None:
    """Promise 3: the assistant's code runs at most `max_attempts` times."""
    stack = broken_stack
    run_id = stack.create_run(args=["Hi"], model="openai/hang")
    for attempt in (1, 2, 3):
        kill(holder_of(database_url, run_id, attempt=attempt))
    run = stack.wait_for(run_id, timeout=60)
    assert (run["status"], run["status_detail"]["reason"]) == ("ERROR", "TooManyAttempts")
    assert read_row(database_url, run_id)["attempt"] == 3
    check_runs(database_url, [run_id])


def test_a_worker_that_sleeps_past_its_lease_writes_nothing_and_stops_by_itself(
    broken_stack: Stack, workers: Worker, database_url: str, llm: LlmStub
) -> None:
    """Promise 3: only one attempt can write. A whole process group is stopped, and goes on later."""
    stack = broken_stack
    run_id = stack.create_run(args=["Hi"], model="openai/words-300-50")
    zombie = holder_of(database_url, run_id)
    await_words(database_url, run_id)
    with frozen([workers.supervisor, *family(zombie.pid)]):
        successor = holder_of(database_url, run_id, attempt=2)
        assert successor.pid != zombie.pid
        left = llm.records.left_early
    # Before the model has said all to either of them: it speaks for 15 s, and a lease is 3.
    assert llm.records.wait_for(lambda records: records.left_early > left, 8)
    assert read_row(database_url, run_id)["status"] == "RUNNING"
    assert stack.wait_for(run_id, timeout=60)["status"] == "SUCCEEDED"
    check_taken_over(database_url, run_id, words=300)
    check_runs(database_url, [run_id])
    assert zombie.is_running()
    next_ids = [stack.create_run(args=["Hi"], model="openai/words-20-50") for _ in range(6)]
    for next_id in next_ids:
        assert stack.wait_for(next_id)["status"] == "SUCCEEDED"


def test_a_worker_that_wakes_after_the_end_of_its_run_adds_nothing_to_it(
    broken_stack: Stack, workers: Worker, database_url: str
) -> None:
    """Promise 2: a run reaches exactly one terminal status, and that never changes."""
    stack = broken_stack
    run_id = stack.create_run(args=["Hi"], model="openai/words-30-200")
    zombie = holder_of(database_url, run_id)
    await_words(database_url, run_id)
    with frozen([workers.supervisor, *family(zombie.pid)]):
        assert stack.wait_for(run_id, timeout=60)["status"] == "SUCCEEDED"
        events = read_events(database_url, run_id)

    def has_ended() -> bool:
        lines = [line for line in workers.log.splitlines() if "run attempt ended" in line]
        return any(run_id in line and '"attempt": 1' in line for line in lines)

    wait_until(has_ended, what="the late attempt to end")
    assert read_events(database_url, run_id) == events
    check_taken_over(database_url, run_id, words=30)
    check_runs(database_url, [run_id])


def test_a_killed_supervisor_takes_its_processes_along_and_loses_no_run(
    broken_stack: Stack, new_worker, workers: Worker, database_url: str
) -> None:
    stack = broken_stack
    other = new_worker("--concurrency=10")
    own = other.processes
    with frozen([workers.supervisor, *workers.processes]):  # so that the other one takes it
        run_id = stack.create_run(args=["Hi"], model=stalling_model(30))
        assert holder_of(database_url, run_id) in own
        await_words(database_url, run_id)
    kill(psutil.Process(other.process.pid))
    wait_until(lambda: not any(map(lives, own)), timeout=60, what="its end")
    assert stack.wait_for(run_id, timeout=60)["status"] == "SUCCEEDED"
    check_runs(database_url, [run_id])

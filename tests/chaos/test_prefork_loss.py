"""The deaths of prefork workers: of the child that executes a run, and of its parent."""

from collections.abc import Callable

import pytest

from tests.support.faults import family, frozen, kill, lives
from tests.support.invariants import await_words, check_runs, check_taken_over, holder_of, read_row
from tests.support.llm_stub import LlmStub, stalling_model
from tests.support.stack import Stack
from tests.support.waiting import wait_until
from tests.support.workers import Worker

pytestmark = [pytest.mark.full_length, pytest.mark.timeout(300)]


@pytest.fixture
def prefork(new_worker: Callable[..., Worker]) -> Worker:
    return new_worker("--pool=prefork", "--concurrency=2")


def test_a_killed_child_costs_its_run_an_attempt_and_its_sibling_nothing(
    broken_stack: Stack, prefork: Worker, database_url: str
) -> None:
    stack = broken_stack
    (parent,) = prefork.processes
    models = stalling_model(40), "openai/words-40-50"
    lost, kept = (stack.create_run(args=["Hi"], model=model) for model in models)
    await_words(database_url, lost)
    child = holder_of(database_url, lost)
    assert child.ppid() == parent.pid
    kill(child)
    for run_id in (lost, kept):
        assert stack.wait_for(run_id, timeout=60)["status"] == "SUCCEEDED"
    check_taken_over(database_url, lost, words=40)
    assert read_row(database_url, kept)["attempt"] == 1
    assert parent.is_running()
    check_runs(database_url, [lost, kept])


def test_a_killed_parent_loses_no_run_and_leaves_no_process(
    broken_stack: Stack, prefork: Worker, database_url: str
) -> None:
    stack = broken_stack
    run_id = stack.create_run(args=["Hi"], model=stalling_model(40))
    holder_of(database_url, run_id)
    await_words(database_url, run_id)
    (parent,) = prefork.processes
    orphans = parent.children(recursive=True)
    kill(parent)
    assert stack.wait_for(run_id, timeout=60)["status"] == "SUCCEEDED"
    next_id = stack.create_run(args=["Hi"])
    assert stack.wait_for(next_id, timeout=60)["status"] == "SUCCEEDED"
    check_runs(database_url, [run_id, next_id])
    wait_until(lambda: not any(map(lives, orphans)), timeout=60, what="the orphans to end")


def test_a_group_that_sleeps_past_its_lease_writes_nothing_and_stops_by_itself(
    broken_stack: Stack, new_worker: Callable[..., Worker], database_url: str, llm: LlmStub
) -> None:
    """Promise 3: only one attempt can write. Parent and children are stopped, and go on later."""
    stack = broken_stack
    worker = new_worker("--pool=prefork", "--concurrency=2", processes=2)
    run_id = stack.create_run(args=["Hi"], model="openai/words-300-50")
    parent = holder_of(database_url, run_id).ppid()
    await_words(database_url, run_id)
    with frozen([worker.supervisor, *family(parent)]):
        assert holder_of(database_url, run_id, attempt=2).ppid() != parent
        left = llm.records.left_early
    # Before the model has said all to either of them: it speaks for 15 s, and a lease is 3.
    assert llm.records.wait_for(lambda records: records.left_early > left, 8)
    assert read_row(database_url, run_id)["status"] == "RUNNING"
    assert stack.wait_for(run_id, timeout=60)["status"] == "SUCCEEDED"
    check_taken_over(database_url, run_id, words=300)
    check_runs(database_url, [run_id])

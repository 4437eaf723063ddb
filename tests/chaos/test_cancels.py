"""Promise 5: a cancel is true of work that does not cooperate, and at every moment of a run. Threads."""

import itertools
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import psutil
import pytest

from tests.support.cancels import GRACE, MARGIN, STUBBORN, cancel, check_slots, start_stubborn
from tests.support.faults import frozen, lives
from tests.support.invariants import check_runs, holder_of, read_events, read_row
from tests.support.llm_stub import LlmStub
from tests.support.stack import TERMINAL, Stack
from tests.support.waiting import wait_until
from tests.support.workers import Worker

pytestmark = [pytest.mark.full_length, pytest.mark.timeout(300)]

SLOTS = 2
MOMENTS = 24


@pytest.fixture(scope="module")
def threads(make_worker: Callable[..., Worker]) -> Generator[Worker]:
    """A worker process with two slots, one for a stubborn run and one for its neighbour."""
    with ExitStack() as exits:
        yield make_worker(exits, f"--concurrency={SLOTS}", PYTHONPATH=str(STUBBORN))


@pytest.mark.parametrize(
    ("way", "how", "is_recycled"),
    [
        ("busy", "interrupted", False),
        ("sleep", "abandoned", True),
        ("swallow", "abandoned", True),
    ],
)
def test_work_that_does_not_stop_is_stopped_or_left_behind(
    broken_stack: Stack, threads: Worker, database_url: str, *, way: str, how: str, is_recycled: bool
) -> None:
    """Promise 5: within the grace; the neighbour is not harmed, no slot lost, nothing accepted later."""
    stack = broken_stack
    wait_until(lambda: len(threads.processes) == 1, timeout=60)
    stubborn = start_stubborn(stack, database_url, way)
    neighbour = stack.create_run(args=["Hi"], model="openai/words-100-50")
    process = holder_of(database_url, stubborn)
    assert holder_of(database_url, neighbour) == process
    cancelled = cancel(stack, stubborn)
    assert cancelled.answer["status"] == "CANCELLED"
    detail = cancelled.receipt(stack)
    said = read_events(database_url, stubborn)
    assert detail["stopped_how"] == how
    assert cancelled.lasted(detail) <= GRACE + MARGIN
    assert stack.wait_for(neighbour)["status"] == "SUCCEEDED"
    assert read_row(database_url, neighbour)["attempt"] == 1
    if is_recycled:
        wait_until(lambda: not lives(process), timeout=60, what="the process of the abandoned thread to end")
    check_slots(stack, SLOTS)
    assert lives(process) is not is_recycled
    assert read_events(database_url, stubborn) == said
    check_runs(database_url, [stubborn, neighbour])


@pytest.mark.usefixtures("threads")
def test_a_cancel_at_the_moment_of_finishing_is_what_it_was_answered(
    broken_stack: Stack, database_url: str
) -> None:
    """Promises 2 and 5: one end, and it is the one that the caller was told."""
    stack = broken_stack
    assistant_id = stack.create_assistant(model="openai/words-4-30")

    def one(number: int) -> tuple[str, str]:
        run_id = stack.create_run(assistant_id, args=["Hi"])
        # From before it starts until well after it has ended.
        if number == 1:
            stack.wait_for(run_id, timeout=60)
        elif number > 1:
            time.sleep(0.1 + 0.02 * number)
        return run_id, stack.cancel(run_id)["status"]

    with ThreadPoolExecutor(2) as callers:
        answers = dict(callers.map(one, range(MOMENTS)))
    assert set(answers.values()) == {"CANCELLED", "SUCCEEDED"}
    assert {run_id: stack.run(run_id)["status"] for run_id in answers} == answers
    check_runs(database_url, list(answers))


@pytest.mark.usefixtures("threads")
def test_two_cancels_at_once_are_one(broken_stack: Stack, database_url: str) -> None:
    stack = broken_stack
    for _ in range(5):
        run_id = stack.create_run(args=["Hi"], model="openai/hang")
        stack.wait_for(run_id, "RUNNING")
        with ThreadPoolExecutor(2) as callers:
            one, other = callers.map(lambda _: cancel(stack, run_id), range(2))  # noqa: B023  # done before the next
        assert (one.answer["status"], other.answer["status"]) == ("CANCELLED", "CANCELLED")
        assert one.receipt(stack) == other.receipt(stack)
        kinds = [kind for kind, _ in read_events(database_url, run_id)]
        assert kinds.count("AssistantRunCompleted") == 1
        check_runs(database_url, [run_id])


@pytest.mark.usefixtures("threads")
def test_a_revoke_that_nobody_hears_stops_the_work_all_the_same(
    broken_stack: Stack, database_url: str
) -> None:
    """Promise 5: Redis hangs, so no revoke arrives; the next heartbeat sees that the run has ended."""
    stack = broken_stack
    run_id = stack.create_run(args=["Hi"], model="openai/hang")
    stack.wait_for(run_id, "RUNNING")
    with frozen([psutil.Process(stack.file["pids"]["redis"])]):
        cancelled = cancel(stack, run_id)
        detail = cancelled.receipt(stack)
    assert detail["stopped_how"] == "cooperative"
    assert cancelled.lasted(detail) <= GRACE + MARGIN
    check_slots(stack, SLOTS)
    check_runs(database_url, [run_id])


@pytest.mark.usefixtures("threads")
def test_what_waits_behind_full_slots_never_starts(broken_stack: Stack, database_url: str) -> None:
    stack = broken_stack
    holding = [stack.create_run(args=["Hi"], model="openai/hang") for _ in range(SLOTS)]
    for run_id in holding:
        stack.wait_for(run_id, "RUNNING")
    waiting = [stack.create_run(args=["Hi"], model="openai/words-2-1") for _ in range(4)]
    cancelled = [cancel(stack, run_id) for run_id in waiting]
    for run_id in holding:
        stack.cancel(run_id)
    check_slots(stack, SLOTS)
    for each in cancelled:
        assert each.receipt(stack)["stopped_how"] == "never_started"
        assert read_row(database_url, each.run_id)["attempt"] == 0
    check_runs(database_url, [*waiting, *holding])


def test_runs_that_are_cancelled_while_a_worker_starts_never_run(
    broken_stack: Stack, new_worker: Callable[..., Worker], threads: Worker, database_url: str
) -> None:
    """The revokes come before, while and after the worker begins to listen."""
    stack = broken_stack
    queue = {"RUNYARD_WORKER_QUEUES": "runs"}
    with frozen([threads.supervisor, *threads.processes]), ThreadPoolExecutor(1) as starter:
        run_ids = [stack.create_run(args=["Hi"], model="openai/hang") for _ in range(40)]
        worker = starter.submit(new_worker, "--concurrency=2", **queue)
        answers = {}
        pending = itertools.chain(run_ids)
        for run_id in pending:
            answers[run_id] = stack.cancel(run_id)["status"]
            time.sleep(0.25)
            if worker.done():
                break
        worker.result()
        answers |= {run_id: stack.cancel(run_id)["status"] for run_id in pending}
    assert set(answers.values()) == {"CANCELLED"}
    for run_id in run_ids:
        wait_until(lambda: stack.run(run_id)["status_detail"]["stopped_at"], what="the receipt")  # noqa: B023
    check_slots(stack, SLOTS)
    check_runs(database_url, run_ids)


def test_a_cancel_during_a_drain_ends_run_and_worker(
    broken_stack: Stack,
    new_worker: Callable[..., Worker],
    threads: Worker,
    llm: LlmStub,
    database_url: str,
) -> None:
    """Promises 5 and 6: the drain waits for a run; the cancel ends it, and nothing keeps the worker."""
    stack = broken_stack
    with frozen([threads.supervisor, *threads.processes]):
        worker = new_worker("--concurrency=2", RUNYARD_DRAIN_GRACE="60")
        run_id = stack.create_run(args=["Hi"], model="openai/hang")
        assert holder_of(database_url, run_id) in worker.processes
        # Until then a library of the model's provider is being loaded.
        assert llm.records.wait_for(lambda records: records.open_connections, 30)
        worker.process.terminate()
        wait_until(lambda: "drain" in worker.log, timeout=60, what="the drain to begin")
        cancelled = cancel(stack, run_id)
        assert cancelled.answer["status"] == "CANCELLED"
        detail = cancelled.receipt(stack)
        assert worker.process.wait(40) == 0  # less than the grace
    assert detail["stopped_how"] == "cooperative"
    assert cancelled.lasted(detail) <= GRACE + MARGIN
    assert stack.run(run_id)["status"] in TERMINAL
    check_runs(database_url, [run_id])

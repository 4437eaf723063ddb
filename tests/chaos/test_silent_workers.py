"""Code that never gives the interpreter back: its process is killed and replaced, its run ends once."""

from collections.abc import Callable

import psutil
import pytest

from tests.support.cancels import STUBBORN
from tests.support.invariants import check_runs, read_row
from tests.support.stack import Stack
from tests.support.waiting import wait_until
from tests.support.workers import Worker

pytestmark = [pytest.mark.full_length, pytest.mark.timeout(180)]


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_a_run_that_holds_the_interpreter_ends_and_its_worker_takes_the_next(
    broken_stack: Stack, new_worker: Callable[..., Worker], database_url: str, pool: str
) -> None:
    """Promises 2 and 3: the run has one end, and a new process is in the place of its own."""
    stack = broken_stack
    worker = new_worker(f"--pool={pool}", "--concurrency=2", PYTHONPATH=str(STUBBORN))
    run_id = stack.create_run(args=["Hi"], model="stubborn/hold", max_attempts=1)
    run = stack.wait_for(run_id, timeout=60)
    assert (run["status"], run["status_detail"]["reason"]) == ("ERROR", "WorkerLost")
    silent = int(read_row(database_url, run_id)["process"].rpartition("/")[2])
    wait_until(lambda: not psutil.pid_exists(silent), timeout=60, what="its process to be killed")
    next_id = stack.create_run(args=["Hi"])
    assert stack.wait_for(next_id, timeout=60)["status"] == "SUCCEEDED"
    assert worker.log.count("killed: it fell silent") == 1
    assert read_row(database_url, run_id)["attempt"] == 1
    check_runs(database_url, [run_id, next_id])

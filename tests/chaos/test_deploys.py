"""Workers that are stopped under load and started anew, as a deploy does, by signal and by command."""

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from itertools import count
from typing import Final

import pytest

from shared.workers import default_name
from tests.support.invariants import await_words, check_runs, holder_of, read_events, read_row
from tests.support.llm_stub import stalling_model
from tests.support.stack import RUNYARD, Stack
from tests.support.waiting import wait_until
from tests.support.workers import Worker

pytestmark = [pytest.mark.full_length, pytest.mark.timeout(300)]

PAUSE: Final = 0.15  # seconds between two runs of the load
LONG_EVERY: Final = 7  # every so many runs, one that goes on beyond the grace; odd, as two workers take turns
LONG: Final = "openai/words-60-100"
GRACE: Final = "1"  # seconds
ROUNDS: Final = 2
EXIT_PATIENCE: Final = 30.0  # seconds: two graces, and what an exit takes on a busy machine

Starter = Callable[..., Worker]
Stopper = Callable[[Stack, Worker], None]


class Load:
    """Runs that are submitted at a steady pace, none of which may be lost even once."""

    def __init__(self, stack: Stack) -> None:
        self.run_ids: list[str] = []
        self._stack = stack
        self._is_over = threading.Event()

    @contextmanager
    def going(self) -> Generator[None]:
        """Submit for the length of a block.

        Raises:
            AssertionError: a run was not accepted.
        """
        failures: list[BaseException] = []
        thread = threading.Thread(target=self._submit, args=(failures,))
        thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            thread.join(60)
        assert failures == []

    def _submit(self, failures: list[BaseException]) -> None:
        try:
            assistant = self._stack.create_assistant(max_attempts=1)
            for number in count():
                model = {"model": LONG} if number % LONG_EVERY == 0 else {}
                self.run_ids.append(self._stack.create_run(assistant, args=[f"Hi {number}"], **model))
                if self._is_over.wait(PAUSE):
                    return
        except BaseException as error:
            failures.append(error)
            raise


def terminate(stack: Stack, worker: Worker) -> None:
    worker.process.send_signal(signal.SIGTERM)


def drain(stack: Stack, worker: Worker) -> None:
    answer = runyard_drain(stack, process_name(worker), "--wait", str(EXIT_PATIENCE))
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split() == [process_name(worker), "draining"]


def runyard_drain(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(RUNYARD), "drain", "--data-dir", str(stack.data_dir), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def process_name(worker: Worker) -> str:
    """What the one process of a worker is called."""
    (name,) = worker.names
    return name


def check_exit(worker: Worker) -> None:
    """Fail unless a worker that was stopped ends in good order, in time, and starts nothing again."""
    assert worker.process.wait(EXIT_PATIENCE) == 0, worker.log
    assert worker.log.count("process started") == 1
    assert "runs left behind" not in worker.log


def check_unharmed(stack: Stack, database_url: str, run_ids: list[str]) -> int:
    """Fail unless all succeeded, and nothing was charged; return how many were given back."""
    runs = [stack.wait_for(run_id, timeout=60) for run_id in run_ids]
    assert [run for run in runs if run["status"] != "SUCCEEDED"] == []
    rows = [read_row(database_url, run_id) for run_id in run_ids]
    assert [row for row in rows if row["losses"]] == []
    check_runs(database_url, run_ids)
    return sum(row["attempt"] > 1 for row in rows)


@pytest.mark.parametrize("stop", [terminate, drain])
def test_a_rolling_deploy_under_load_fails_no_run_and_charges_no_attempt(
    broken_stack: Stack, new_worker: Starter, database_url: str, stop: Stopper
) -> None:
    """Promise 6: A deploy neither fails a run nor burns an attempt. A round replaces every worker."""
    stack = broken_stack
    workers = [new_worker("--concurrency=20", RUNYARD_DRAIN_GRACE=GRACE) for _ in range(2)]
    load = Load(stack)
    with load.going():
        for place in [0, 1] * ROUNDS:
            await_busy(database_url, workers[place], load)
            stop(stack, workers[place])
            check_exit(workers[place])
            workers[place] = new_worker("--concurrency=20", RUNYARD_DRAIN_GRACE=GRACE)
    given_back = check_unharmed(stack, database_url, load.run_ids)
    assert len(load.run_ids) > 25 * ROUNDS
    assert given_back > 0


def await_busy(database_url: str, worker: Worker, load: Load) -> None:
    """Wait until a worker executes one of the latest long runs."""
    pids = {str(process.pid) for process in worker.processes}

    def is_busy() -> bool:
        rows = [read_row(database_url, run_id) for run_id in load.run_ids[::LONG_EVERY][-2:]]
        return any(row["status"] == "RUNNING" and row["process"].rpartition("/")[2] in pids for row in rows)

    wait_until(is_busy, timeout=60, pause=0.05, what="a long run on it")


@pytest.mark.parametrize("stop", [terminate, drain])
def test_a_run_beyond_the_grace_runs_again_elsewhere_uncharged(
    broken_stack: Stack, new_worker: Starter, database_url: str, stop: Stopper
) -> None:
    """Promise 6, for a run that may be attempted only once."""
    stack = broken_stack
    workers = [new_worker("--concurrency=5", RUNYARD_DRAIN_GRACE=GRACE) for _ in range(2)]
    run_id = stack.create_run(args=["Hi"], model=stalling_model(100, pause=100), max_attempts=1)
    holder = holder_of(database_url, run_id)
    first, other = sorted(workers, key=lambda worker: holder not in worker.processes)
    await_words(database_url, run_id)
    stop(stack, first)
    check_exit(first)
    assert holder_of(database_url, run_id, attempt=2) in other.processes
    assert check_unharmed(stack, database_url, [run_id]) == 1
    events = read_events(database_url, run_id)
    again = max(at for at, (kind, _) in enumerate(events) if kind == "AssistantRunRunning")
    words = [payload["token"] for kind, payload in events[again:] if kind == "TextChunkEvent"]
    assert "".join(words).split() == [f"word{n}" for n in range(100)]


@pytest.mark.parametrize("stop", [terminate, drain])
def test_a_cancel_during_a_drain_is_final_and_holds_up_no_exit(
    broken_stack: Stack, new_worker: Starter, database_url: str, stop: Stopper
) -> None:
    """The grace is far longer than the test: only the cancel can be what ends the run."""
    stack = broken_stack
    worker = new_worker("--concurrency=5", RUNYARD_DRAIN_GRACE="600")
    run_id = stack.create_run(args=["Hi"], model="openai/words-2000-50")
    holder_of(database_url, run_id)
    await_words(database_url, run_id)
    stopping = threading.Thread(target=stop, args=(stack, worker))
    stopping.start()
    wait_until(lambda: "drain begun" in worker.log, timeout=60, what="the drain to begin")
    cancelled_at = time.monotonic()
    assert stack.cancel(run_id)["status"] == "CANCELLED"
    check_exit(worker)
    assert time.monotonic() - cancelled_at < EXIT_PATIENCE
    stopping.join(30)
    assert stack.run(run_id)["status"] == "CANCELLED"
    assert read_row(database_url, run_id)["losses"] == 0
    check_runs(database_url, [run_id])


def test_after_a_drain_the_dev_supervisor_starts_the_worker_again(broken_stack: Stack) -> None:
    """Its worker was drained, not its user: `runyard dev` goes on, and says what happened."""
    stack = broken_stack
    drained = stack.file["pids"]["worker"]
    name = default_name()
    wait_until(lambda: name in runyard_drain(stack).stdout, timeout=60, what="the worker to be there")
    answer = runyard_drain(stack, name, "--wait", str(EXIT_PATIENCE))
    assert (answer.returncode, answer.stdout.split()) == (0, [name, "draining"])
    wait_until(lambda: stack.file["pids"]["worker"] != drained, timeout=60, what="another worker")
    assert "worker died: exit code 0. Started again in" in stack.output
    wait_until(lambda: name in runyard_drain(stack).stdout, timeout=60, what="it to be there, by its name")

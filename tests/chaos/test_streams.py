"""Promise 4 under faults: every reader of a run, live, late, resumed or slow, is sent the same bytes."""

import asyncio
import signal
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import psutil
import pytest

from cli.drill.plan import PlannedReader
from tests.support.cancels import STUBBORN
from tests.support.faults import kill, lives
from tests.support.invariants import await_words, check_runs, read_events
from tests.support.readers import faults_of, read_all
from tests.support.stack import Stack
from tests.support.waiting import wait_until
from tests.support.workers import Worker

pytestmark = [pytest.mark.full_length, pytest.mark.timeout(300)]

PATIENCE = 60.0  # seconds
SHUTDOWN = 6.0  # seconds the API may take with open streams
QUIET_READERS = 3

READERS = [
    PlannedReader(comes_after=0.0, leaves_after=()),  # before the first word
    PlannedReader(comes_after=1.5, leaves_after=()),  # in the middle
    PlannedReader(comes_after=0.0, leaves_after=tuple([3] * 20)),  # resumes after every third event
    PlannedReader(comes_after=0.7, leaves_after=(1, 20, 2)),
    PlannedReader(comes_after=10.0, leaves_after=()),  # after the end
]


def api_of(stack: Stack) -> psutil.Process:
    return psutil.Process(stack.file["pids"]["api"])


def nothing(_: Stack) -> None:
    """No fault."""


def kill_redis(stack: Stack) -> None:
    kill(psutil.Process(stack.file["pids"]["redis"]))


def kill_api(stack: Stack) -> None:
    kill(api_of(stack))


def restart_api(stack: Stack) -> None:
    """As in a deploy: the streams are ended, so that their readers resume at the next process."""
    api = api_of(stack)
    api.send_signal(signal.SIGTERM)
    wait_until(lambda: not lives(api), timeout=SHUTDOWN, what="the API to end")


@pytest.fixture(scope="module", autouse=True)
def workers(make_worker: Callable[..., Worker]) -> Generator[Worker]:
    """For all runs of the module, those that say much included."""
    with ExitStack() as exits:
        yield make_worker(exits, "--concurrency=10", PYTHONPATH=str(STUBBORN))


@pytest.mark.parametrize("fault", [nothing, kill_redis, kill_api, restart_api])
def test_every_reader_is_sent_the_same_bytes(
    broken_stack: Stack, database_url: str, fault: Callable[[Stack], None]
) -> None:
    """Promise 4: early, late, in the middle, resumed; through restarts of Redis and of the API."""
    stack = broken_stack
    wait_until(lambda: stack.client.get("/health/ready").is_success, timeout=60)
    run_id = stack.create_run(args=["Hi"], model="openai/words-80-50")
    with ThreadPoolExecutor(1) as reading:
        readings = [(run_id, plan) for plan in READERS]
        transcripts = reading.submit(lambda: asyncio.run(read_all(stack, readings, patience=PATIENCE)))
        await_words(database_url, run_id)
        fault(stack)
        first, *others = transcripts.result()
    assert [what for transcript in (first, *others) for what in faults_of(transcript)] == []
    assert len(first.digests) == len(read_events(database_url, run_id))
    assert all(other.digests == first.digests for other in others)
    check_runs(database_url, [run_id])


def test_readers_that_do_not_read_for_long_get_all_of_it_later(
    broken_stack: Stack, database_url: str
) -> None:
    """Promise 4: a run says far more than is kept for a reader, who then reads it from PostgreSQL."""
    stack = broken_stack
    wait_until(lambda: stack.client.get("/health/ready").is_success, timeout=60)
    run_id = stack.create_run(args=["Hi"], model="loud/ever")
    readers = [stack.frames(run_id) for _ in range(QUIET_READERS)]
    firsts = [next(reader) for reader in readers]
    assert stack.wait_for(run_id, timeout=PATIENCE)["status"] == "SUCCEEDED"
    transcripts = [[first, *reader] for first, reader in zip(firsts, readers, strict=True)]
    assert all(transcript == transcripts[0] for transcript in transcripts[1:])
    assert len(transcripts[0]) == len(read_events(database_url, run_id))

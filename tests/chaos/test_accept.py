"""Runs are accepted whatever Redis does, at once, and executed when it is back."""

import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from statistics import median

import httpx2
import psutil
import pytest
import redis

from shared.celery_app import CONNECT_TIMEOUT
from tests.support.faults import frozen, kill
from tests.support.invariants import check_runs
from tests.support.stack import Stack
from tests.support.waiting import wait_until
from tests.support.workers import Worker

pytestmark = [pytest.mark.full_length, pytest.mark.timeout(300)]

REFUSAL = "Cannot connect to"
EXTRA = 0.5  # seconds an answer may take longer than it does with Redis

Fault = Callable[[Stack], AbstractContextManager[None]]


@contextmanager
def killed(stack: Stack) -> Generator[None]:
    """Redis is dead; who would start it again sleeps."""
    with frozen([psutil.Process(stack.process.pid)]):
        kill(psutil.Process(stack.file["pids"]["redis"]))
        yield


@contextmanager
def hung(stack: Stack) -> Generator[None]:
    """Redis takes connections and commands, and answers none."""
    with frozen([psutil.Process(stack.file["pids"]["redis"])]):
        yield


@contextmanager
def refusing(stack: Stack) -> Generator[None]:
    """Redis answers, and refuses to write: too few replicas, or too little memory."""
    with redis.Redis.from_url(stack.redis_admin_url) as client:
        client.config_set("min-replicas-to-write", 1)
        try:
            yield
        finally:
            client.config_set("min-replicas-to-write", 0)


@contextmanager
def demoted(stack: Stack) -> Generator[None]:
    """Redis has become the read-only replica of another, as in a failover."""
    with redis.Redis.from_url(stack.redis_admin_url) as client:
        client.replicaof("127.0.0.1", 1)
        try:
            yield
        finally:
            client.replicaof("NO", "ONE")


def post_timed(stack: Stack, assistant_id: str) -> tuple[str, float]:
    """The run's id, and the seconds until the 201."""
    started = time.monotonic()
    run_id = stack.create_run(assistant_id, args=["Hi"])
    return run_id, time.monotonic() - started


@pytest.mark.parametrize("fault", [killed, hung, refusing, demoted])
def test_an_accept_is_durable_and_prompt_without_redis(
    broken_stack: Stack, workers: Worker, database_url: str, fault: Fault
) -> None:
    """Promise 1: an accepted run is never lost, even if Redis is down at that moment."""
    stack = broken_stack
    assistant_id = stack.create_assistant()
    before = [post_timed(stack, assistant_id) for _ in range(5)]
    for run_id, _ in before:
        assert stack.wait_for(run_id)["status"] == "SUCCEEDED"
    with fault(stack):
        during = [post_timed(stack, assistant_id) for _ in range(10)]
    run_ids = [run_id for run_id, _ in [*before, *during]]
    for run_id in run_ids:
        assert stack.wait_for(run_id, timeout=60)["status"] == "SUCCEEDED"
    assert max(seconds for _, seconds in during) < median(seconds for _, seconds in before) + EXTRA
    check_runs(database_url, run_ids)


@pytest.mark.parametrize("fault", [refusing, demoted])
def test_a_redis_that_refuses_to_write_costs_no_run_its_worker(
    broken_stack: Stack, workers: Worker, database_url: str, fault: Fault
) -> None:
    """A running run goes on, in the process it is in, and that process takes the next one."""
    stack = broken_stack
    processes = set(workers.processes)
    running = stack.create_run(args=["Hi"], model="openai/words-80-50")
    stack.wait_for(running, "RUNNING")
    with fault(stack):
        accepted = stack.create_run(args=["Hi"])
        refusals = workers.log.count(REFUSAL)
        wait_until(lambda: workers.log.count(REFUSAL) >= refusals + 3, what="the workers to be refused")
    for run_id in (running, accepted):
        assert stack.wait_for(run_id, timeout=60)["status"] == "SUCCEEDED"
    assert set(workers.processes) == processes
    check_runs(database_url, [running, accepted])


def test_an_api_that_starts_while_redis_hangs_accepts_runs(
    broken_stack: Stack, workers: Worker, database_url: str
) -> None:
    """Promise 1: it has never seen a Redis that answers."""
    stack = broken_stack
    assistant_id = stack.create_assistant()
    with hung(stack):
        before = stack.file["pids"]["api"]
        kill(psutil.Process(before))
        wait_until(lambda: stack.file["pids"]["api"] != before, what="another API")
        wait_until(lambda: is_ready(stack), timeout=60, pause=0.1, what="the API to be ready")
        during = [post_timed(stack, assistant_id) for _ in range(5)]
    for run_id, _ in during:
        assert stack.wait_for(run_id, timeout=60)["status"] == "SUCCEEDED"
    assert median(seconds for _, seconds in during) < EXTRA
    assert max(seconds for _, seconds in during) < CONNECT_TIMEOUT, "an answer waited for Redis"
    check_runs(database_url, [run_id for run_id, _ in during])


def is_ready(stack: Stack) -> bool:
    try:
        return stack.client.get("/health/ready").status_code == 200
    except httpx2.TransportError:
        return False

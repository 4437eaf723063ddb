"""The pools in real worker processes, on a real Redis."""

import signal
import time
from collections.abc import Generator

import psutil
import pytest

from tests.support.pool_bench import PoolBench, eventually
from tests.support.services import TestServices

STOPPED_WITHIN = 0.1  # seconds from the revoke to the running task
TASKS = 100


@pytest.fixture
def bench(services: TestServices, tmp_path) -> Generator[PoolBench]:
    bench = PoolBench(services.settings(redis_url=services.empty_redis()), tmp_path)
    yield bench
    bench.close()


def pool_of(bench: PoolBench) -> dict[str, int]:
    """What the only worker says of its pool."""
    answers = bench.app.control.inspect(timeout=30, limit=1).stats()
    return next(iter(answers.values()))["pool"]


def test_revoke_and_terminate_reach_a_running_task(bench: PoolBench) -> None:
    with bench.worker():
        delays = []
        for command in (bench.terminate, bench.app.control.terminate):
            task = bench.start_task("wait", 60)
            sent_at = time.time()
            command(task.id)
            stopped = bench.heard("stopped", task.id)
            assert stopped.reason == "cancelled"
            delays.append(stopped.at - sent_at)
        assert min(delays) < STOPPED_WITHIN


def test_revoked_task_does_not_touch_its_neighbours(bench: PoolBench) -> None:
    with bench.worker():
        neighbour = bench.start_task("wait", 1.5)
        task = bench.start_task("wait", 60)
        bench.terminate(task.id)
        bench.heard("stopped", task.id)
        bench.heard("finished", neighbour.id)


def test_capacity_never_leaks(bench: PoolBench) -> None:
    with bench.worker(concurrency=4):
        for number in range(TASKS):
            if number % 4 == 0:
                task = bench.start_task("wait", 60)
                bench.terminate(task.id)
                bench.heard("stopped", task.id)
            else:
                bench.heard("finished", bench.send("nothing"))
        running = [bench.start_task("wait", 60) for _ in range(4)]
        assert pool_of(bench)["threads"] == 4
        bench.send("nothing")  # a fifth waits in the queue, not in the worker
        eventually(lambda: bench.redis.llen("runs") == 1, "the fifth task to wait")
        bench.terminate(running[0].id)
        bench.heard("stopped", running[0].id)
        bench.heard("finished")


@pytest.mark.full_length
def test_abandoned_task_costs_its_process_but_no_neighbour(bench: PoolBench) -> None:
    with bench.worker() as process:
        neighbour = bench.start_task("wait", 2)
        task = bench.start_task("stuck", 0.1)
        bench.terminate(task.id)
        eventually(lambda: "thread abandoned" in bench.log, "the task to be abandoned")
        eventually(lambda: "Canceling queue runs" in bench.log, "the drain to begin")
        later = bench.send("nothing")
        bench.heard("finished", neighbour.id)
        assert process.wait(60) == 75
    with bench.worker():
        bench.heard("finished", later)


def test_drain_lets_tasks_finish_and_takes_nothing_new(bench: PoolBench) -> None:
    with bench.worker() as process:
        task = bench.start_task("wait", 1)
        process.send_signal(signal.SIGTERM)
        eventually(lambda: "Canceling queue runs" in bench.log, "the drain to begin")
        bench.send("nothing")
        bench.heard("finished", task.id)
        assert process.wait(60) == 0
    assert bench.redis.llen("runs") == 1


def test_drain_hears_of_cancels(bench: PoolBench) -> None:
    with bench.worker() as process:
        task = bench.start_task("wait", 60)
        process.send_signal(signal.SIGTERM)
        eventually(lambda: "Canceling queue runs" in bench.log, "the drain to begin")
        bench.terminate(task.id)
        assert bench.heard("stopped", task.id).reason == "cancelled"
        assert process.wait(60) == 0


def test_drain_gives_back_what_does_not_finish(bench: PoolBench) -> None:
    with bench.worker() as process:
        task = bench.start_task("wait", 60)
        process.send_signal(signal.SIGTERM)
        assert bench.heard("stopped", task.id).reason == "drained"
        assert process.wait(60) == 0


@pytest.mark.full_length
def test_second_signal_hurries_and_a_stuck_task_holds_up_nothing(bench: PoolBench) -> None:
    with bench.worker() as process:
        bench.start_task("stuck", 60)
        for _ in range(2):
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert "runs left behind by the drain" in bench.log


def test_shutdown_command_drains(bench: PoolBench) -> None:
    with bench.worker() as process:
        task = bench.start_task("wait", 60)
        bench.app.control.shutdown()
        assert bench.heard("stopped", task.id).reason == "drained"
        assert process.wait(60) == 0


def test_malformed_run_message_does_no_harm(bench: PoolBench) -> None:
    with bench.worker():
        for arguments in ({}, {"run_id": "x", "attempt": 1}, {"run_id": None, "attempt": "1"}):
            bench.app.send_task("runyard.execute_run", kwargs=arguments)
        bench.app.send_task("runyard.execute_run", args=[1, 2, 3])
        bench.app.send_task("runyard.unheard_of")
        bench.heard("finished", bench.send("nothing"))
        assert eventually(
            lambda: bench.log.count("malformed task dropped") == 4, "the messages to be dropped"
        )
        eventually(lambda: pool_of(bench)["threads"] == 0, "the threads to end")


@pytest.mark.full_length
def test_prefork_terminates_kills_and_drains(bench: PoolBench) -> None:
    with bench.worker(pool="prefork", concurrency=2) as process:
        task = bench.start_task("wait", 60)
        bench.terminate(task.id)
        assert bench.heard("stopped", task.id).reason == "cancelled"
        stuck = bench.start_task("stuck", 0.1)
        bench.terminate(stuck.id)
        eventually(lambda: not psutil.pid_exists(stuck.pid), "the child to be killed")
        for _ in range(4):
            bench.heard("finished", bench.send("nothing"))
        task = bench.start_task("wait", 60)
        process.send_signal(signal.SIGTERM)
        assert bench.heard("stopped", task.id).reason == "drained"
        assert process.wait(60) == 0

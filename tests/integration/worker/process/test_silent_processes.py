"""Silent processes are killed and replaced by whoever started them, and `runyard health` sees them."""

import os
import signal
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import psutil
import pytest

from cli.local.embedded.redis import EmbeddedRedis
from shared.settings import Settings
from tests.support.checkout import ROOT
from tests.support.faults import frozen, go_on_for, kill
from tests.support.pool_bench import WORKER, PoolBench, eventually
from tests.support.services import TestServices
from tests.support.stack import RUNYARD

LEASE = 5  # seconds: no silence is shorter
WEDGED = "tests.support.wedged_worker"


@pytest.fixture
def bench(services: TestServices, tmp_path: Path) -> Generator[PoolBench]:
    bench = PoolBench(services.settings(redis_url=services.empty_redis()), tmp_path)
    bench.env.update(
        RUNYARD_LEASE_TTL=str(LEASE),
        RUNYARD_HEARTBEAT="1",
        RUNYARD_HEALTH_DIR=str(tmp_path / "health"),
        PYTHONPATH=str(ROOT),
    )
    yield bench
    bench.close()


def health(bench: PoolBench) -> tuple[int, str]:
    """What `runyard health worker` answers."""
    done = subprocess.run(
        [RUNYARD, "health", "worker"], env=bench.env, capture_output=True, text=True, check=False
    )
    said = done.stdout + done.stderr
    assert len(said.splitlines()) == 1, said
    return done.returncode, said


def await_fault(bench: PoolBench, words: str) -> None:
    def said_so() -> bool:
        code, said = health(bench)
        return code == 1 and words in said

    eventually(said_so, f"the probe to say: {words}")


@pytest.mark.parametrize("way", ["SIGSTOP", pytest.param("interpreter lock", marks=pytest.mark.full_length)])
def test_a_silent_process_is_killed_and_replaced(bench: PoolBench, way: str) -> None:
    with bench.supervisor() as supervisor:
        if way == "SIGSTOP":
            silent = bench.start_task("wait", 60)
            os.kill(silent.pid, signal.SIGSTOP)
        else:
            silent = bench.start_task("hold", 60)
        eventually(lambda: "process killed: it fell silent" in bench.log, "the silence to be noticed")
        eventually(lambda: bench.log.count("s@test ready.") == 2, "a new process")
        assert not psutil.pid_exists(silent.pid)
        assert bench.heard("finished", bench.send("nothing")).pid != silent.pid
        assert health(bench) == (0, "healthy: worker, 1 process, 0 of 50 slots busy\n")
        supervisor.send_signal(signal.SIGTERM)
        assert supervisor.wait(60) == 0


@pytest.mark.full_length
def test_a_silent_child_of_prefork_is_killed_and_its_sibling_lives(bench: PoolBench) -> None:
    with bench.supervisor(WORKER, "--pool=prefork", "--concurrency=2"):
        sibling = bench.start_task("wait", 60)
        silent = bench.start_task("hold", 60)
        eventually(lambda: "child killed: it fell silent" in bench.log, "the silence to be noticed")
        eventually(lambda: not psutil.pid_exists(silent.pid), "its end")
        assert bench.heard("finished", bench.send("nothing")).pid not in {silent.pid, sibling.pid}
        assert psutil.pid_exists(sibling.pid)
        assert bench.log.count("child killed") == 1
        assert "process killed" not in bench.log
        assert health(bench)[0] == 0


def test_a_busy_process_is_neither_killed_nor_unhealthy(bench: PoolBench) -> None:
    """Every slot is taken, messages wait, and a thread computes all the time."""
    with bench.supervisor(WORKER, "--concurrency=2"):
        for _ in range(2):
            bench.start_task("compute", LEASE + 6)
        bench.send("nothing")
        go_on_for(LEASE + 3)
        assert health(bench) == (0, "healthy: worker, 1 process, 2 of 2 slots busy\n")
        assert "killed" not in bench.log


@pytest.mark.full_length
def test_a_worker_that_sleeps_with_its_supervisor_goes_on_when_both_wake(bench: PoolBench) -> None:
    with bench.supervisor() as supervisor:
        task = bench.start_task("wait", 60)
        with frozen([psutil.Process(supervisor.pid), psutil.Process(task.pid)]):
            await_fault(bench, "supervisor")
        eventually(lambda: health(bench)[0] == 0, "the probe to be content")
        assert psutil.pid_exists(task.pid)
        assert "killed" not in bench.log


@pytest.mark.full_length
@pytest.mark.parametrize("how", ["loop", "deaf"])
def test_a_wedged_consumer_is_a_fault_once_runs_wait(bench: PoolBench, how: str) -> None:
    with bench.supervisor(WEDGED):
        eventually(lambda: "s@test ready." in bench.log, "the worker")
        answer: Any = bench.app.control.broadcast("wedge", arguments={"how": how}, reply=True, limit=1)
        assert answer == [{"s@test": {"ok": how}}]
        go_on_for(4)
        assert health(bench)[0] == 0  # nothing waits
        for _ in range(2):  # the first goes to the connection that nobody reads
            bench.send("nothing")
        await_fault(bench, "has not turned" if how == "loop" else "has taken nothing")


@pytest.mark.full_length
def test_a_broker_that_hangs_or_is_away_is_no_fault_of_the_worker(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "redis", durable=False) as server:
        urls = {"database_url": "postgresql://nowhere/none", "redis_url": server.url}
        bench = PoolBench(
            Settings.model_validate(urls), tmp_path, RUNYARD_HEALTH_DIR=str(tmp_path / "health")
        )
        bench.env["PYTHONPATH"] = str(ROOT)
        with bench.supervisor(WEDGED):
            eventually(lambda: "s@test ready." in bench.log, "the worker")
            bench.start_task("wait", 60)
            process = psutil.Process(server.pid)
            with frozen([process]):
                go_on_for(4)
                assert health(bench)[0] == 0
            kill(process)
            go_on_for(4)
            assert health(bench)[0] == 0
            assert "killed" not in bench.log
        bench.close()


def test_without_a_worker_there_is_nothing_healthy(bench: PoolBench) -> None:
    code, said = health(bench)
    assert code == 1
    assert "No worker runs here" in said

"""A supervisor and its worker processes: replaced when they end, stopped in good order."""

import os
import signal
import subprocess
import uuid
from collections.abc import Generator
from pathlib import Path

import psutil
import pytest

from tests.support.checkout import ROOT
from tests.support.faults import with_argument
from tests.support.pool_bench import WORKER, PoolBench, eventually
from tests.support.services import TestServices

STUBBORN = """
import signal, sys, time
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: None)
print("stubborn ready", flush=True)
while True:
    signal.pause()
"""
SHORT_LIVED = "print('short-lived started', flush=True); raise SystemExit(1)"


@pytest.fixture
def bench(services: TestServices, tmp_path: Path) -> Generator[PoolBench]:
    bench = PoolBench(services.settings(redis_url=services.empty_redis()), tmp_path)
    yield bench
    bench.close()


def program(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "program.py"
    path.write_text(text)
    return path


def children(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children()


def test_killed_process_is_replaced(bench: PoolBench) -> None:
    with bench.supervisor() as supervisor:
        task = bench.start_task("wait", 60)
        os.kill(task.pid, signal.SIGKILL)
        # Sent any sooner, the message may go to the connection of the dead.
        eventually(lambda: bench.log.count("s@test ready.") == 2, "a new process")
        assert bench.heard("finished", bench.send("nothing")).pid != task.pid
        supervisor.send_signal(signal.SIGTERM)
        assert supervisor.wait(60) == 0


@pytest.mark.full_length
def test_abandoned_run_has_its_process_replaced_while_neighbours_finish(bench: PoolBench) -> None:
    with bench.supervisor() as supervisor:
        neighbour = bench.start_task("wait", 60)
        stuck = bench.start_task("stuck", 0.1)
        bench.terminate(stuck.id)
        eventually(lambda: "process retires" in bench.log, "a successor to be asked for")
        successor = bench.start_task("wait", 60)
        assert successor.pid != stuck.pid
        bench.terminate(neighbour.id)
        stopped = bench.heard("stopped", neighbour.id)
        assert (stopped.pid, stopped.reason) == (stuck.pid, "cancelled")  # nobody else has told it to stop
        eventually(lambda: "retired process ended" in bench.log, "the process to go")
        assert '"code": 75' in bench.log
        supervisor.send_signal(signal.SIGTERM)
        bench.heard("stopped", successor.id)
        assert supervisor.wait(60) == 0


def test_stop_drains_every_process(bench: PoolBench) -> None:
    with bench.supervisor(WORKER, "--processes=2", "--concurrency=1") as supervisor:
        tasks = [bench.start_task("wait", 60) for _ in range(2)]
        assert len({task.pid for task in tasks}) == 2
        supervisor.send_signal(signal.SIGINT)
        for _ in tasks:
            assert bench.heard("stopped").reason == "drained"
        assert supervisor.wait(60) == 0


@pytest.mark.full_length
def test_second_signal_is_passed_on(bench: PoolBench) -> None:
    bench.env["RUNYARD_DRAIN_GRACE"] = "600"
    with bench.supervisor() as supervisor:
        task = bench.start_task("wait", 60)
        supervisor.send_signal(signal.SIGTERM)
        eventually(lambda: "drain begun" in bench.log, "the drain to begin")
        supervisor.send_signal(signal.SIGTERM)
        assert bench.heard("stopped", task.id).reason == "drained"
        assert supervisor.wait(60) == 0


def test_processes_drain_when_their_supervisor_is_killed(bench: PoolBench) -> None:
    with bench.supervisor() as supervisor:
        task = bench.start_task("wait", 60)
        (child,) = children(supervisor)
        supervisor.kill()
        supervisor.wait(60)
        assert bench.heard("stopped", task.id).reason == "drained"
        psutil.wait_procs([child], timeout=60)
        assert not child.is_running()


def test_process_that_does_not_stop_is_killed(bench: PoolBench, tmp_path: Path) -> None:
    bench.env.update(RUNYARD_DRAIN_GRACE="0.1", RUNYARD_CANCEL_GRACE="0.1")
    with bench.supervisor(program(tmp_path, STUBBORN)) as supervisor:
        eventually(lambda: "stubborn ready" in bench.log, "the process to start")
        (child,) = children(supervisor)
        supervisor.send_signal(signal.SIGTERM)
        assert supervisor.wait(60) == 1
        assert not child.is_running()


def test_process_that_dies_at_once_is_not_started_like_mad(bench: PoolBench, tmp_path: Path) -> None:
    with bench.supervisor(program(tmp_path, SHORT_LIVED)) as supervisor:
        eventually(lambda: '"restart_in_seconds": 1.0' in bench.log, "the second death")
        assert bench.log.count("short-lived started") == 2
        supervisor.send_signal(signal.SIGTERM)
        assert supervisor.wait(60) == 0


KILLS_ALL_ABOVE = """
import os, signal, sys
shim = os.getppid()
worker = int(open(f"/proc/{shim}/stat").read().rpartition(")")[2].split()[1])
if not os.fork():
    os.setsid()
    if not os.fork():
        os.execve("/bin/sleep", ["sleep", sys.argv[1]], {})
    os._exit(0)
os.wait()
os.kill(shim, signal.SIGSTOP)
os.kill(worker, signal.SIGKILL)
os.kill(shim, signal.SIGKILL)
"""
EXECUTES_IT_ONCE = """
import os, sys
from datetime import timedelta
from pathlib import Path
from tests.support.sandboxes import holder
from worker.cancellation import CancelToken
from worker.executors.program.runner import Job, Limits, run_program
workdir = Path({workdir!r})
if (workdir / "begun").exists():
    print("begun again", flush=True)
    sys.exit(0)
(workdir / "begun").touch()
run_program(
    Job(["main.py", {mark!r}], workdir),
    mark={mark!r},
    holder=holder("none"),
    secrets={{}},
    workdir=workdir,
    limits=Limits(10**9, timedelta(9), 10**6, 20, 1000, timedelta(seconds=5)),
    token=CancelToken(),
    write_lines=list,
)
"""


@pytest.mark.full_length
def test_an_unheld_program_that_kills_shim_and_worker_leaves_nothing(
    bench: PoolBench, tmp_path: Path
) -> None:
    """Its detached child, without a mark, comes back to the supervisor."""
    mark = f"88.{uuid.uuid4().int % 10**9}"
    workdir = tmp_path / "workdir"
    workdir.mkdir()
    (workdir / "main.py").write_text(KILLS_ALL_ABOVE)
    source = EXECUTES_IT_ONCE.format(workdir=str(workdir), mark=mark)
    bench.env["PYTHONPATH"] = str(ROOT)
    with bench.supervisor(program(tmp_path, source)) as supervisor:
        eventually(lambda: "orphan of a program killed" in bench.log, "the orphan to be found")
        eventually(lambda: with_argument(mark) == [], "nothing to be left")
        supervisor.send_signal(signal.SIGTERM)
        supervisor.wait(60)

"""A Redis to send tasks by, worker processes to take them, and what these tell of it."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
import redis

from shared.celery_app import make_celery
from shared.processes.hidden import hidden_module
from shared.settings import Settings
from tests.support.guarding import started
from tests.support.waiting import wait_until

WORKER: Final = "tests.support.pool_worker"
SUPERVISOR: Final = "tests.support.pool_supervisor"
PATIENCE: Final = 60.0  # seconds; two cores shared with others


@dataclass(frozen=True)
class Told:
    """What a task said of itself."""

    event: str
    id: str
    pid: int
    at: float
    reason: str | None = None


class PoolBench:
    """Sends tasks, and hears from them."""

    def __init__(self, settings: Settings, directory: Path, **overrides: str) -> None:
        self.settings = settings
        self.app = make_celery(settings)
        self.redis = redis.Redis.from_url(settings.redis_url.get_secret_value(), socket_timeout=10)
        self._log = directory / "worker.log"
        self.env = {
            "PATH": os.environ["PATH"],
            "RUNYARD_DATABASE_URL": settings.database_url.get_secret_value(),
            "RUNYARD_REDIS_URL": settings.redis_url.get_secret_value(),
            "RUNYARD_DRAIN_GRACE": "2",
            "RUNYARD_CANCEL_GRACE": "1",
            **overrides,
        }

    @property
    def log(self) -> str:
        """What the workers have logged."""
        return self._log.read_text() if self._log.exists() else ""

    def send(self, name: str, *args: object) -> str:
        """Send a task; return its id."""
        task_id: str = self.app.send_task(f"test.{name}", args).id
        return task_id

    def start_task(self, name: str, *args: object) -> Told:
        """Send a task and wait until it runs."""
        task_id = self.send(name, *args)
        return self.heard("started", task_id)

    def heard(self, event: str, task_id: str | None = None) -> Told:
        """Wait for the next word of a task, which must be this one."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            item = self.redis.blpop(["told"], timeout=1)
            if item is not None:
                told = Told(**json.loads(item[1]))
                assert told.event == event, f"{told} instead of {event}; the log:\n{self.log}"
                assert task_id in {None, told.id}, f"{told}; the log:\n{self.log}"
                return told
        raise TimeoutError(f"nothing heard instead of {event}; the log:\n{self.log}")

    def terminate(self, task_id: str) -> None:
        self.app.control.revoke(task_id, terminate=True)

    def close(self) -> None:
        self.app.close()
        self.redis.close()

    @contextmanager
    def worker(
        self, *, pool: str = "threads", concurrency: int = 4, name: str = "w"
    ) -> Generator[subprocess.Popen[bytes]]:
        """One worker process, ready to work; killed at the end of the block if it is still there."""
        options = [f"--name={name}@test", f"--pool={pool}", f"--concurrency={concurrency}", "--queues=runs"]
        ready = f"{name}@test ready."
        before = self.log.count(ready)
        with self._process(WORKER, *options) as process:
            eventually(lambda: self.log.count(ready) > before or process.poll() is not None, ready)
            assert process.poll() is None, self.log
            yield process

    @contextmanager
    def supervisor(self, program: str | Path = WORKER, *options: str) -> Generator[subprocess.Popen[bytes]]:
        """A supervisor of worker processes, which execute a module, or a file."""
        with self._process(SUPERVISOR, str(program), "--name=s@test", *options) as process:
            yield process

    @contextmanager
    def _process(self, module: str, *arguments: str) -> Generator[subprocess.Popen[bytes]]:
        with self._log.open("ab") as log:
            process = started(
                [*hidden_module(module), *arguments],
                env=self.env,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            kill_tree(process)


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and all below it, by their ids."""
    below = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.wait(60)
    for child in below:
        if child.is_running():
            child.kill()
    psutil.wait_procs(below, timeout=60)


def eventually(condition: Callable[[], Any], what: str) -> Any:
    """Wait until something is so."""
    return wait_until(condition, timeout=PATIENCE, pause=0.05, what=what)

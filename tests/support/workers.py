"""Workers beside a stack: as `runyard worker` starts them, with options and an environment of their own."""

import re
import subprocess
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

from shared.processes.hidden import hidden_module
from tests.support.faults import family, kill
from tests.support.guarding import started
from tests.support.stack import Stack
from tests.support.waiting import wait_until

START_PATIENCE: Final = 120.0  # seconds; each process loads a framework
READY: Final = " ready."


class Worker:
    """A running supervisor of worker processes."""

    def __init__(self, process: subprocess.Popen[bytes], log_path: Path) -> None:
        self.process = process
        self._log_path = log_path

    @property
    def log(self) -> str:
        """What it and its processes have logged."""
        return self._log_path.read_text()

    @property
    def names(self) -> list[str]:
        """What its processes are called, in the order in which they were ready."""
        return re.findall(r"([^\s\"]+) ready\.", self.log)

    @property
    def supervisor(self) -> psutil.Process:
        """Its supervisor, which kills what is frozen for a lease, unless it is frozen, too."""
        return psutil.Process(self.process.pid)

    @property
    def processes(self) -> list[psutil.Process]:
        """Its worker processes, without the children that these may have."""
        return self.supervisor.children()


@contextmanager
def running_worker(
    stack: Stack, log_path: Path, *options: str, env: Mapping[str, str], processes: int = 1
) -> Generator[Worker]:
    """A worker for the runs of a stack, ready; killed with everything below it in the end.

    Args:
        env: its whole environment, but for where the servers are.
    """
    command = [*hidden_module("worker"), f"--processes={processes}", *options]
    names = {"database_url": "DATABASE_URL", "redis_url": "REDIS_URL", "api_url": "STRUCTURE_API_URL"}
    urls = {f"RUNYARD_{variable}": stack.file[name] for name, variable in names.items()}
    with log_path.open("wb") as log:
        process = started(
            command, env={**env, **urls}, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    worker = Worker(process, log_path)
    born: set[psutil.Process] = set()
    try:
        wait_until(
            lambda: worker.log.count(READY) >= processes or process.poll() is not None,
            timeout=START_PATIENCE,
            pause=0.05,
            what="the worker to be ready",
        )
        assert process.poll() is None, worker.log
        born.update(family(process.pid))
        yield worker
    finally:
        if process.poll() is None:
            born.update(family(process.pid))
        kill(*born)
        process.wait(60)

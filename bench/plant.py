"""What is measured: a stack of `runyard dev`, programs beside it, its processes and its database."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import psutil
import psycopg

from bench import load
from bench.load import Server
from cli.local.processes import child
from shared.processes.ports import LOOPBACK, free_port
from tests.support.llm_stub import LlmStub
from tests.support.stack import RUNYARD, Stack, running_stack
from tests.support.waiting import wait_until

EXECUTORS: Final = Path(__file__).with_name("executors")
"""The folder with the executors `noop` and `ticks`, as a distribution."""

PARTS: Final = ("api", "worker", "reconciler", "flower", "postgres", "redis")
MEGA: Final = 1e6
POLL_INTERVAL: Final = 0.01  # seconds
OF_ASSISTANT: Final = (
    "(organization_id, subject_id) = (SELECT organization_id, id FROM assistants WHERE id = %s)"
)
"""Whether a run is an assistant's, as SQL that indexes answer, however many other runs there are."""

START_TIMEOUT: Final = 40.0  # seconds until a program beside the stack is ready
STOP_TIMEOUT: Final = 8.0  # seconds until it has ended
CLEAR_TIMEOUT: Final = 15.0  # seconds until all runs have ended
CLEARERS: Final = 16  # cancels in flight

OURS: Final = ("RUNYARD_", "OPENAI_", "PYTHONPATH")
STREAMS_SETTINGS: Final = {
    "RUNYARD_MAX_CONNECTIONS": "12000",
    "RUNYARD_MAX_ADDRESS_CONNECTIONS": "12000",
    "RUNYARD_ORGANIZATION_SHARE": "1",
}
"""The load comes from one address and one organization; as shipped, these may have 3,072 connections."""


class NotClearedError(Exception):
    """Runs of a scenario have not ended, so what follows needs another stack."""


class Plant:
    """A running stack, seen from the bench."""

    def __init__(self, stack: Stack, directory: Path, llm: LlmStub, env: Mapping[str, str]) -> None:
        self.stack = stack
        self.llm = llm
        self.directory = directory
        self.server = Server.of(stack.file["api_url"], stack.file["api_key"])
        self.database_url: str = stack.file["database_url"]
        self.redis_url: str = stack.file["redis_url"]
        self.database = psycopg.connect(self.database_url, autocommit=True)
        self._environment = env
        self._beside: dict[str, list[psutil.Process]] = {}

    def assistant(self, model: str) -> str:
        """Create an assistant; return its id."""
        return self.stack.create_assistant(model=model)

    def create(self, assistant_id: str, **fields: Any) -> bytes:
        """The request that creates a run of an assistant."""
        return self.server.request("POST", f"/api/assistants/{assistant_id}/runs", fields)

    def processes(self, part: str) -> list[psutil.Process]:
        """The processes of one part, with those beside the stack; none if it was not started here."""
        pid = self.stack.file["pids"].get(part)
        own = [] if pid is None else [psutil.Process(pid), *self.stack.children(part)]
        return own + self._beside.get(part, [])

    def cpu(self) -> dict[str, float]:
        """CPU seconds of each part so far; of a process that has just ended, none."""
        spent = dict.fromkeys(PARTS, 0.0)
        for part in PARTS:
            for process in self.processes(part):
                with suppress(psutil.NoSuchProcess):
                    times = process.cpu_times()
                    spent[part] += times.user + times.system
        return spent

    def memory(self, part: str) -> float:
        """Proportional memory of one part, in megabytes."""
        return sum(process.memory_full_info().pss for process in self.processes(part)) / MEGA

    @contextmanager
    def worker_stopped(self) -> Generator[None]:
        """Stop the worker's processes (SIGSTOP) for as long as the block lasts."""
        try:
            for process in self.processes("worker"):
                process.send_signal(signal.SIGSTOP)
            yield
        finally:
            self.let_worker_go()

    def let_worker_go(self) -> None:
        """Continue what `worker_stopped` has stopped, before its block ends."""
        for process in self.processes("worker"):
            process.send_signal(signal.SIGCONT)

    @contextmanager
    def api_beside(self, *options: str, settings: Mapping[str, str] | None = None) -> Generator[Server]:
        """Start a further API on a port of its own, on the same servers; its server once it is ready."""
        port = free_port()
        variables = {"RUNYARD_API_HOST": LOOPBACK, "RUNYARD_API_PORT": str(port), **(settings or {})}
        server = Server(LOOPBACK, port, self.server.key)
        with self._program("api", options, variables) as process:
            request = server.request("GET", "/api/assistants?page_size=1")

            def is_ready() -> bool:
                if process.poll() is not None:
                    raise ChildProcessError(f"runyard api: {child.describe_exit(process)}")
                with suppress(OSError, EOFError):
                    return load.run(load.in_flight(server, [request], 1))[0].status == 200  # OK
                return False

            wait_until(is_ready, timeout=START_TIMEOUT, pause=0.1, what="the API to answer")
            self._beside["api"] = family(process)
            yield server

    @contextmanager
    def worker_beside(self, *options: str, settings: Mapping[str, str] | None = None) -> Generator[None]:
        """Start a further worker on the same servers, and wait until it takes runs."""
        with self._program("worker", options, settings or {}) as process:
            log = self.directory / "worker-beside.log"

            def is_ready() -> bool:
                if process.poll() is not None:
                    raise ChildProcessError(child.tail(log))
                return " ready." in log.read_text()

            wait_until(is_ready, timeout=START_TIMEOUT, pause=0.1, what="the worker to be ready")
            self._beside["worker"] = family(process)
            yield

    @contextmanager
    def _program(
        self, name: str, options: Sequence[str], settings: Mapping[str, str]
    ) -> Generator[child.Process]:
        variables = {
            **self._environment,
            "RUNYARD_DATABASE_URL": self.database_url,
            "RUNYARD_REDIS_URL": self.redis_url,
            "RUNYARD_LOG_FORMAT": "console",
            "RUNYARD_DRAIN_GRACE": "3",
            "PYTHONUNBUFFERED": "1",
            **settings,
        }
        log = self.directory / f"{name}-beside.log"
        log.unlink(missing_ok=True)
        with ExitStack() as stack:
            process = child.spawn(child.Command([str(RUNYARD), name, *options], log, variables))
            stack.callback(child.stop, process, ((signal.SIGTERM, STOP_TIMEOUT),))
            stack.callback(self._beside.pop, name, None)
            yield process

    def count(self, assistant_id: str, *statuses: str) -> int:
        """How many runs of an assistant have one of these statuses."""
        query = f"SELECT count(*) FROM runs WHERE {OF_ASSISTANT} AND status = ANY(%s)"  # noqa: S608
        row = self.database.execute(query, (assistant_id, list(statuses))).fetchone()
        assert row is not None
        found: int = row[0]
        return found

    def wait_for(self, assistant_id: str, number: int, *statuses: str, timeout: float) -> None:
        """Wait until so many runs of an assistant have one of these statuses.

        Raises:
            TimeoutError: they have not.
        """
        deadline = time.monotonic() + timeout
        while (found := self.count(assistant_id, *statuses)) < number:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{found} of {number} runs are {' or '.join(statuses)} after {timeout:g} s"
                )
            time.sleep(POLL_INTERVAL)

    def column(self, query: str, *values: Any) -> list[Any]:
        """The first column of a query's rows."""
        return [row[0] for row in self.database.execute(query, values).fetchall()]

    def clear(self) -> None:
        """Cancel all runs that a scenario has left, so that the next one has the stack to itself.

        Raises:
            NotClearedError: some have not stopped in time.
        """
        active = "status IN ('QUEUED', 'STARTING', 'RUNNING')"
        left = self.column(f"SELECT id FROM runs WHERE {active} AND created_at > now() - interval '1 hour'")  # noqa: S608
        paths = [f"/api/assistant-runs/{run_id}/cancel" for run_id in left]
        requests = [self.server.request("POST", path, {}) for path in paths]
        deadline = time.monotonic() + CLEAR_TIMEOUT
        load.run(load.in_flight(self.server, requests, CLEARERS, within=CLEAR_TIMEOUT))
        query = f"SELECT count(*) FROM runs WHERE id = ANY(%s) AND ({active} OR is_stopping)"  # noqa: S608
        while (number := self.column(query, left)[0]) > 0:
            if time.monotonic() > deadline:
                raise NotClearedError(f"{number} runs have not stopped after {CLEAR_TIMEOUT:g} s")
            time.sleep(POLL_INTERVAL)


def offers(command: str, option: str) -> bool:
    """Whether a command of `runyard` has an option, as its help says."""
    told = subprocess.run([RUNYARD, command, "--help"], check=True, capture_output=True, text=True)
    return option in told.stdout


def family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """A process and all below it."""
    return [psutil.Process(process.pid), *child.descendants(process.pid)]


def environment(llm: LlmStub, **settings: str) -> dict[str, str]:
    """A new user's environment with the bench's executors and a model server; settings as shipped."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    stub = {"OPENAI_BASE_URL": llm.openai_url, "OPENAI_API_KEY": "sk-stub"}
    return {**clean, "PYTHONPATH": str(EXECUTORS), **stub, **settings}


@contextmanager
def running_plant(directory: Path, *options: str, settings: Mapping[str, str]) -> Generator[Plant]:
    """Start a stack and a model server in a directory of their own, and stop them."""
    with LlmStub() as llm:
        variables = environment(llm, **settings)
        with running_stack(directory, *options, env=variables) as stack:
            plant = Plant(stack, directory, llm, variables)
            try:
                yield plant
            finally:
                plant.database.close()


def report(text: str) -> None:
    """Say on standard error what is being measured now."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()

"""The base of the embedded servers: directory, port, start with a readiness check, stop."""

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import ClassVar, Final, Self

from cli.local.embedded.leftovers import stop_leftovers
from cli.local.processes import child
from cli.local.processes.lock import DirectoryLock
from shared.errors import RunyardError
from shared.processes import ports

START_TIMEOUT: Final = 60.0  # seconds; recovery of a large database is slow
READY_INTERVAL: Final = 0.01  # seconds
PORT_TRIES: Final = 5
PORT_TAKEN: Final = "Address already in use"

ENVIRONMENT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "PATH": os.defpath,
        "LC_ALL": "C",
        "TZ": "UTC",
    }  # not our environment: it holds secrets and PG… variables
)


class EmbeddedServiceError(RunyardError):
    """An embedded server cannot be started."""


class EmbeddedServer(ABC):
    """A server process on a loopback port, with its data in a directory and a password.

    `start` is `launch` and `wait_ready`. Servers that are all launched first start in parallel.
    A restarted server keeps its port and its password.
    """

    name: ClassVar[str]
    program: ClassVar[str]  # its name in the process table
    stop_sequence: ClassVar[child.StopSequence]

    def __init__(self, data_dir: Path, *, durable: bool = True) -> None:
        self._directory = data_dir.absolute()
        self._durable = durable
        self._lock = DirectoryLock(self._directory)
        self._process: child.Process | None = None
        self._port: int | None = None
        self._is_port_known = False  # to clients, so it must not change

    @property
    @abstractmethod
    def url(self) -> str:
        """The URL for clients, with the password; known after `launch`."""

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self.process.pid

    @property
    def process(self) -> child.Process:
        """The server's process.

        Raises:
            EmbeddedServiceError: the server was not started.
        """
        if self._process is None:
            raise EmbeddedServiceError(f"{self.name} was not started.")
        return self._process

    @property
    def port(self) -> int:
        """The loopback port of the server, chosen at the first start."""
        if self._port is None:
            self._port = ports.free_port()
        return self._port

    @property
    def log_path(self) -> Path:
        return self._directory / "server.log"

    def start(self) -> None:
        """Start the server, or restart a dead one, and wait until it answers.

        Raises:
            DirectoryInUseError: another process runs a server on this directory.
            EmbeddedServiceError: the server does not start; the message contains the reason.
        """
        try:
            self.launch()
            self.wait_ready()
        except BaseException:
            self.stop()
            raise

    def launch(self) -> None:
        """Start the server without waiting for it; see `start`."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory.chmod(0o700)
        if self._process is None:
            self._lock.acquire()
        else:
            child.stop(self._process, self.stop_sequence)
        stop_leftovers(self.program, self._working_directory, self.stop_sequence)
        child.set_aside(self.log_path)
        self._prepare()
        self._spawn()

    def wait_ready(self) -> None:
        """Wait until a launched server answers; see `start`."""
        deadline = time.monotonic() + START_TIMEOUT
        for _ in range(PORT_TRIES):
            while time.monotonic() < deadline and self.process.poll() is None:
                if self._is_ready():
                    self._is_port_known = True
                    return
                time.sleep(READY_INTERVAL)
            if PORT_TAKEN not in child.tail(self.log_path) or self._is_port_known:
                break
            self._port = None
            self._spawn()
        ending = child.describe_exit(self.process)
        raise EmbeddedServiceError(
            f"{self.name} does not start ({ending}):\n{child.tail(self.log_path)}\nIts log: {self.log_path}"
        )

    def stop(self) -> None:
        """Stop the server, if it runs."""
        if self._process is not None:
            child.stop(self._process, self.stop_sequence)
            self._process = None
        self._lock.release()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    @abstractmethod
    def _working_directory(self) -> Path:
        """The server's data directory. It is its current directory, which tells the server from others."""

    @abstractmethod
    def _prepare(self) -> None:
        """Create the files that the server needs."""

    @abstractmethod
    def _command(self) -> child.Command:
        """The command that starts the server."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Whether the server answers."""

    def _spawn(self) -> None:
        self._process = child.spawn(self._command())

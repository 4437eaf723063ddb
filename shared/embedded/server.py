"""What the embedded servers have in common: a directory, a port, a start that is watched, a stop."""

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import ClassVar, Final, Self

from shared.embedded.leftovers import stop_leftovers
from shared.errors import RunyardError
from shared.processes import child, ports
from shared.processes.lock import DirectoryLock

START_TIMEOUT: Final = 60.0  # seconds; the recovery of a large database takes its time
READY_POLL: Final = 0.01  # seconds between two looks at a starting server
PORT_TRIES: Final = 5
PORT_TAKEN: Final = "Address already in use"

ENVIRONMENT: Final[Mapping[str, str]] = MappingProxyType(
    {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}  # nothing of ours: that holds secrets, and PG… variables
)


class EmbeddedServiceError(RunyardError):
    """An embedded server cannot be started."""


class EmbeddedServer(ABC):
    """A server process on a loopback port, with its data in a directory and a password.

    `start` is `launch` and `wait_ready`: servers that are all launched first start side by side.
    One that is started again keeps its port and its password.
    """

    name: ClassVar[str]
    program: ClassVar[str]  # as the process table names it
    ladder: ClassVar[child.Ladder]

    def __init__(self, data_dir: Path, *, durable: bool = True) -> None:
        self._directory = data_dir.absolute()
        self._durable = durable
        self._lock = DirectoryLock(self._directory)
        self._process: child.Process | None = None
        self._port: int | None = None
        self._is_port_known = False  # to clients, so that it has to stay

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients connect, password included; known once the server was launched."""

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self.process.pid

    @property
    def process(self) -> child.Process:
        """The server's process.

        Raises:
            EmbeddedServiceError: it was not started.
        """
        if self._process is None:
            raise EmbeddedServiceError(f"{self.name} was not started.")
        return self._process

    @property
    def port(self) -> int:
        """The loopback port the server listens on; chosen at the first start."""
        if self._port is None:
            self._port = ports.free_port()
        return self._port

    @property
    def log_path(self) -> Path:
        return self._directory / "server.log"

    def start(self) -> None:
        """Start the server and wait until it answers; one that has died is started again.

        Raises:
            DirectoryInUseError: another process runs a server on this directory.
            EmbeddedServiceError: it does not start; the message says why.
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
            child.stop(self._process, self.ladder)
        stop_leftovers(self.program, self._working_directory, self.ladder)
        child.set_aside(self.log_path)
        self._prepare()
        self._spawn()

    def wait_ready(self) -> None:
        """Wait until a launched server answers; see `start`."""
        deadline = time.monotonic() + START_TIMEOUT
        for _ in range(PORT_TRIES):
            if self._answers_before(deadline):
                self._is_port_known = True
                return
            if PORT_TAKEN not in child.tail(self.log_path) or self._is_port_known:
                break
            self._port = None
            self._spawn()
        ending = child.describe_exit(self.process)
        raise EmbeddedServiceError(
            f"{self.name} does not start ({ending}):\n{child.tail(self.log_path)}\nIts log: {self.log_path}"
        )

    def stop(self) -> None:
        """Stop the server, whatever it takes; does nothing if it does not run."""
        if self._process is not None:
            child.stop(self._process, self.ladder)
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
        """Where the server has its data; being its current directory, it tells the server from others."""

    @abstractmethod
    def _prepare(self) -> None:
        """Make what has to exist before the server starts."""

    @abstractmethod
    def _command(self) -> child.Command:
        """How to start the server."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Whether the server answers."""

    def _spawn(self) -> None:
        self._process = child.spawn(self._command())

    def _answers_before(self, deadline: float) -> bool:
        while time.monotonic() < deadline and self.process.poll() is None:
            if self._is_ready():
                return True
            time.sleep(READY_POLL)
        return False

"""All of Runyard on one machine: servers, schema, first key, processes; for as long as a block runs."""

import os
import secrets
import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import quote

import httpx2

from shared.cli.database_access import one_session, readable_database_errors
from shared.cli.dev_file import DevFile, remove_dev_file
from shared.cli.first_key import ensure_first_key
from shared.cli.programs import make_programs
from shared.embedded.postgres import EmbeddedPostgres
from shared.embedded.redis import EmbeddedRedis
from shared.embedded.server import EmbeddedServer
from shared.errors import RunyardError
from shared.migrations.upgrade import upgrade
from shared.private_files import demand_own_directory, make_private_directory
from shared.processes import ports
from shared.processes.lineage import no_orphans
from shared.processes.lock import DirectoryInUseError, DirectoryLock
from shared.settings import Settings
from shared.stack import Death, Stack

READY_TIMEOUT: Final = 120.0  # seconds; a small machine under load takes its time
READY_POLL: Final = 0.05  # seconds
HOPELESS_AFTER: Final = 3  # deaths of one process before everything was ready
PROCESSES: Final = ("api", "worker", "reconciler", "flower", "postgres", "redis")
LOGS: Final = "logs"
WILDCARDS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104  # compared with, not bound to


class AlreadyRunningError(RunyardError):
    """`runyard dev` runs on this directory already."""

    def __init__(self, directory: Path, holder: str) -> None:
        super().__init__(f"`runyard dev` is already running on {directory}, as process {holder}.")


class PortTakenError(RunyardError):
    """Something else listens on this port."""

    def __init__(self, port: int) -> None:
        super().__init__(f"Port {port} is taken; choose another with --port, or 0 for any free one.")


class StartFailedError(RunyardError):
    """Not everything could be started."""


@dataclass(frozen=True, slots=True)
class Options:
    """What can be chosen about it."""

    directory: Path
    port: int | None = None  # 0 for any free one; None for the usual one, or any if that is taken
    concurrency: int | None = None
    processes: int | None = None


@dataclass(frozen=True, slots=True)
class Servers:
    """The servers that the environment does not name, and that are started therefore."""

    redis: EmbeddedRedis | None
    postgres: EmbeddedPostgres | None

    @property
    def urls(self) -> dict[str, str]:
        """Where the processes reach them, by setting."""
        urls = {}
        if self.redis is not None:
            urls["redis_url"] = self.redis.application_url
        if self.postgres is not None:
            urls["database_url"] = self.postgres.application_url
            urls["migration_database_url"] = self.postgres.migration_url
        return urls


class Development:
    """A running stack, and the file that tells of it."""

    def __init__(
        self, stack: Stack, settings: Settings, directory: Path, api_key: str, servers: Servers
    ) -> None:
        self._stack = stack
        self._settings = settings
        self._directory = directory
        self._api_key = api_key
        self._servers = servers
        self._is_ready = False

    def wait_until_ready(self, stopping: threading.Event) -> bool:
        """Wait until the API can serve, then write the file; False if told to stop before that.

        Raises:
            StartFailedError: a process keeps dying, or it takes too long.
        """
        deadline = time.monotonic() + READY_TIMEOUT
        while not self._answers():
            self.check()
            self.raise_if_hopeless()
            if time.monotonic() > deadline:
                raise StartFailedError(
                    f"The API was not ready within {READY_TIMEOUT:.0f} s; logs: {self._directory / LOGS}."
                )
            if stopping.wait(READY_POLL):
                return False
        self._is_ready = True
        self.file.write(self._directory)
        return True

    def check(self) -> None:
        """Start again what died, and say so in the file; call this often."""
        if self._stack.check() and self._is_ready:
            self.file.write(self._directory)

    def raise_if_hopeless(self) -> None:
        """Give up, where nobody is there to mend what keeps a process from running.

        Raises:
            StartFailedError: a process died again and again.
        """
        for death in self._stack.deaths:
            if death.count >= HOPELESS_AFTER:
                raise StartFailedError(f"{death.name} keeps dying ({death.why}).")

    @property
    def file(self) -> DevFile:
        """What there is to know about the stack now."""
        settings, members = self._settings, self._stack.members
        return DevFile(
            api_url=settings.api_url,
            api_key=self._api_key,
            flower_url=_flower_url(settings),
            database_url=settings.database_url.get_secret_value(),
            redis_url=settings.redis_url.get_secret_value(),
            pids={name: members[name].process.pid if name in members else None for name in PROCESSES},
        )

    @property
    def redis_admin_url(self) -> str:
        """Where Redis can be emptied: our own's administrator; of another's server we know one user."""
        redis = self._servers.redis
        return redis.url if redis is not None else self._settings.redis_url.get_secret_value()

    def _answers(self) -> bool:
        try:
            with httpx2.Client(trust_env=False, timeout=2) as client:
                return client.get(f"{self.file.api_url}/health/ready").status_code == HTTPStatus.OK
        except httpx2.TransportError:
            return False


@contextmanager
def development(options: Options, *, report: Callable[[Death], None]) -> Generator[Development]:
    """Start everything; stop it, and remove the file, when the block ends.

    Raises:
        NotOursError: others can write to the directory.
        AlreadyRunningError: it runs on this directory already.
        AddressError: the environment names a server by an address that is none.
        PortTakenError: somebody else has the port that was asked for.
        EmbeddedServiceError: PostgreSQL or Redis does not start.
        DatabaseRefusedError: PostgreSQL does not do what it is asked for.
    """
    directory = make_private_directory(options.directory.absolute())
    demand_own_directory(directory)  # its files hold a password and a key that are taken as our own
    with ExitStack() as exits:
        exits.callback(_locked(directory).release)
        remove_dev_file(directory)  # of one that was killed
        exits.callback(remove_dev_file, directory)
        exits.enter_context(no_orphans())
        stack = exits.enter_context(Stack(report=report))
        servers = _launch_servers(stack, directory)
        settings = _settings(options, servers.urls)
        settings.check_addresses()
        with readable_database_errors():
            upgrade(settings)
        with one_session(settings) as session:
            api_key = ensure_first_key(session, directory)
        programs = make_programs(
            settings,
            make_private_directory(directory / LOGS),
            concurrency=options.concurrency,
            processes=options.processes,
        )
        worker = programs.pop("worker")
        stack.launch(*programs.values())
        stack.launch(worker)  # a stage of its own: the first to be stopped
        yield Development(stack, settings, directory, api_key, servers)


def _locked(directory: Path) -> DirectoryLock:
    lock = DirectoryLock(directory, "dev.lock")
    try:
        lock.acquire()
    except DirectoryInUseError as error:
        raise AlreadyRunningError(directory, error.holder) from error
    return lock


def _launch_servers(stack: Stack, directory: Path) -> Servers:
    """Start the servers that the environment does not name, and wait until they answer."""
    prefix = os.environ.get("RUNYARD_REDIS_PREFIX", "")
    servers = Servers(
        None if os.environ.get("RUNYARD_REDIS_URL") else EmbeddedRedis(directory / "redis", prefix=prefix),
        None if os.environ.get("RUNYARD_DATABASE_URL") else EmbeddedPostgres(directory / "postgres"),
    )
    started: list[EmbeddedServer] = [
        server for server in (servers.redis, servers.postgres) if server is not None
    ]
    if started:
        stack.launch(*started)
    for server in started:
        server.wait_ready()
    return servers


def _settings(options: Options, urls: dict[str, str]) -> Settings:
    given = Settings.model_validate(urls)
    credentials = given.flower_basic_auth or f"runyard:{secrets.token_urlsafe(18)}"
    flower_port = given.flower_port if "flower_port" in given.model_fields_set else ports.free_port()
    api_port = _api_port(options.port, given.api_port)
    return Settings.model_validate(
        {
            **urls,
            "api_port": api_port,
            "api_url": f"http://{_reachable(given.api_host)}:{api_port}",
            "flower_port": flower_port,
            "flower_basic_auth": credentials,
        }
    )


def _api_port(wanted: int | None, usual: int) -> int:
    if wanted is None:
        return usual if ports.is_free(usual) else ports.free_port()
    if wanted == 0:
        return ports.free_port()
    if not ports.is_free(wanted):
        raise PortTakenError(wanted)
    return wanted


def _reachable(host: str) -> str:
    return ports.LOOPBACK if host in WILDCARDS else host


def _flower_url(settings: Settings) -> str:
    credentials = settings.flower_basic_auth.get_secret_value() if settings.flower_basic_auth else ""
    user, _, password = credentials.partition(",")[0].partition(":")
    host = _reachable(settings.flower_host)
    return f"http://{quote(user, safe='')}:{quote(password, safe='')}@{host}:{settings.flower_port}"

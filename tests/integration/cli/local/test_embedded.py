"""The embedded servers: wherever their directory is, and whatever happened to them before."""

import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cli.local.embedded import postgres as embedded_postgres
from cli.local.embedded.installation import Installation
from cli.local.embedded.postgres import EmbeddedPostgres
from cli.local.embedded.redis import EmbeddedRedis
from cli.local.embedded.server import EmbeddedServiceError
from cli.local.embedded.services import embedded_services
from cli.local.processes.child import is_alive
from cli.local.processes.lock import DirectoryInUseError
from tests.support.waiting import wait_until

SOCKET_PATH_LIMIT = 107  # bytes
NO_RETRY = Retry(NoBackoff(), 0)


def remember(postgres: EmbeddedPostgres) -> None:
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE memory (word text)")
        connection.execute("INSERT INTO memory VALUES ('kept')")


def recall(postgres: EmbeddedPostgres) -> str:
    with psycopg.connect(postgres.url) as connection:
        return connection.execute("SELECT word FROM memory").fetchone()[0]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("a b 'c' \"d\" ü", id="spaces and quotes"),
        pytest.param("/".join(["long" * 12] * 4), id="longer than a socket's path may be"),
    ],
)
def test_both_servers_run_in_an_awkward_directory(tmp_path, name):
    with embedded_services(tmp_path / name, durable=False) as services:
        with psycopg.connect(services.postgres.url) as connection:
            assert connection.execute("SHOW server_version_num").fetchone()[0].startswith("18")
        with redis.Redis.from_url(services.redis.url) as client:
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        processes = [services.postgres.process, services.redis.process]
    assert [process.poll() for process in processes] == [0, 0]


def test_the_long_directory_is_long_enough_to_matter():
    assert len("/".join(["long" * 12] * 4)) > SOCKET_PATH_LIMIT


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("embedded")


@pytest.fixture(scope="module")
def postgres(directory):
    with EmbeddedPostgres(directory / "postgres", durable=False) as running:
        yield running


@pytest.fixture(scope="module")
def redis_server(directory):
    with EmbeddedRedis(directory / "redis", durable=False) as running:
        yield running


def test_data_and_secrets_are_private(postgres, directory):
    directory /= "postgres"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [directory, *directory.iterdir()]}
    assert modes["postgres"] == 0o700
    assert modes["cluster"] == 0o700
    assert modes["password"] == 0o600


def test_nobody_gets_in_without_the_password(postgres, redis_server):
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(postgres.url.replace(recorded_password(postgres), "guess"))
    with (
        redis.Redis(port=redis_server.port, retry=NO_RETRY) as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.ping()


def recorded_password(postgres: EmbeddedPostgres) -> str:
    return postgres.url.split(":")[2].split("@")[0]


def test_no_password_is_in_the_process_table(postgres, redis_server):
    secrets = (recorded_password(postgres), redis_server.url.split(":")[2].split("@")[0])
    for pid in (postgres.pid, redis_server.pid):
        shown = " ".join([*psutil.Process(pid).cmdline(), *psutil.Process(pid).environ().values()])
        assert not any(secret in shown for secret in secrets)


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root")
def test_postgres_started_by_root_runs_as_another_user(postgres):
    assert psutil.Process(postgres.pid).uids().real != 0


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root")
def test_programs_out_of_the_accounts_reach_are_lent_as_a_copy(tmp_path):
    original = Installation(None, purpose=tmp_path)._packages
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    (hidden / "site-packages").symlink_to(original)
    sealed = EmbeddedPostgres(tmp_path / "postgres", durable=False)
    sealed._installation._packages = hidden / "site-packages"
    with sealed:
        program = Path(psutil.Process(sealed.pid).exe())
        assert not program.is_relative_to(original)
    assert not program.exists()


def test_a_killed_postgres_starts_again_on_its_data(tmp_path):
    with EmbeddedPostgres(tmp_path) as first:
        remember(first)
        url, pid = first.url, first.pid
        os.kill(pid, signal.SIGKILL)
        first.process.wait(60)
        first.start()
        assert first.url == url
        assert first.pid != pid
        assert recall(first) == "kept"


def test_a_killed_redis_starts_again_on_its_data(tmp_path):
    with EmbeddedRedis(tmp_path) as server:
        with redis.Redis.from_url(server.url) as client:
            client.config_set("appendfsync", "always")
            client.set("word", "kept")
        os.kill(server.pid, signal.SIGKILL)
        server.process.wait(60)
        server.start()
        with redis.Redis.from_url(server.url) as client:
            assert client.get("word") == b"kept"


@pytest.mark.full_length
@pytest.mark.parametrize("pid", [1, os.getpid(), 2**22 - 1], ids=["init's", "a recycled one", "a dead one"])
def test_a_stale_pid_file_does_not_keep_postgres_from_starting(tmp_path, pid):
    with EmbeddedPostgres(tmp_path) as first:
        remember(first)
        lines = (tmp_path / "cluster" / "postmaster.pid").read_text().splitlines()
    (tmp_path / "cluster" / "postmaster.pid").write_text("\n".join([str(pid), *lines[1:]]))
    with EmbeddedPostgres(tmp_path) as second:
        assert recall(second) == "kept"


OWNER = """
import os, sys, threading
from pathlib import Path
from cli.local.embedded.services import embedded_services

def run():
    with embedded_services(Path(sys.argv[1])) as services:
        print(services.postgres.pid, services.redis.pid, flush=True)
        sys.stdin.read()

if sys.argv[2] == "main":
    run()
else:  # what another thread starts is not told of our death
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join()
"""


@pytest.fixture
def owner(tmp_path):
    """Start a process that runs both servers, and tell their process ids."""
    started = []

    def start(thread: str) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
        process = subprocess.Popen(
            [sys.executable, "-c", OWNER, str(tmp_path / "data"), thread],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process, [psutil.Process(int(pid)) for pid in process.stdout.readline().split()]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells the servers on Linux only")
def test_the_servers_end_when_their_owner_is_killed(owner):
    process, servers = owner("main")
    process.kill()
    wait_until(lambda: not any(is_alive(server) for server in servers), what="servers gone")


def test_servers_that_outlived_their_owner_are_replaced(owner, tmp_path):
    process, servers = owner("thread")
    process.kill()
    process.wait()
    assert all(is_alive(server) for server in servers)
    with embedded_services(tmp_path / "data") as services:
        assert not any(is_alive(server) for server in servers)
        with psycopg.connect(services.postgres.url) as connection:
            connection.execute("SELECT 1")


def test_a_directory_in_use_is_refused(postgres, directory):
    with pytest.raises(DirectoryInUseError, match=str(os.getpid())):
        EmbeddedPostgres(directory / "postgres").start()
    with psycopg.connect(postgres.url) as connection:
        connection.execute("SELECT 1")


@pytest.mark.full_length
def test_two_pairs_side_by_side_do_not_meet(tmp_path):
    with (
        embedded_services(tmp_path / "one", durable=False) as one,
        embedded_services(tmp_path / "two", durable=False) as two,
    ):
        remember(one.postgres)
        with psycopg.connect(two.postgres.url) as connection, pytest.raises(psycopg.errors.UndefinedTable):
            connection.execute("SELECT * FROM memory")
        wrong = two.redis.url.replace(str(two.redis.port), str(one.redis.port))
        with pytest.raises(redis.AuthenticationError):
            redis.Redis.from_url(wrong, retry=NO_RETRY).ping()


def test_a_port_that_was_taken_meanwhile_is_replaced(tmp_path):
    server = EmbeddedRedis(tmp_path)
    with socket.create_server(("127.0.0.1", server.port)):
        taken = server.port
        with server:
            assert server.port != taken


def test_a_start_that_fails_says_why_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(embedded_postgres, "MAX_CONNECTIONS", "many")
    server = EmbeddedPostgres(tmp_path)
    with pytest.raises(EmbeddedServiceError, match="max_connections"):
        server.start()
    monkeypatch.undo()
    with EmbeddedPostgres(tmp_path):
        """The directory is free again."""


def test_an_unfinished_initialization_is_begun_anew(tmp_path):
    unfinished = tmp_path / "cluster.new"
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("18")
    with EmbeddedPostgres(tmp_path, durable=False) as server, psycopg.connect(server.url) as connection:
        connection.execute("SELECT 1")

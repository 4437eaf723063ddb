"""What whoever takes over a process can do in the embedded servers: what the process could, and no more."""

import os
import subprocess

import psutil
import psycopg
import pytest
import redis
from celery import Celery
from psycopg.errors import InsufficientPrivilege
from typer.testing import CliRunner

from cli.commands.migrate import migrate_app
from cli.doctor.server import examine_server
from cli.local.embedded import redis_user
from cli.local.embedded.postgres import EmbeddedPostgres
from cli.local.embedded.redis import EmbeddedRedis, find_redis_server
from shared.db import make_engine
from shared.migrations.schema import is_current
from shared.migrations.upgrade import upgrade
from shared.processes.ports import free_port
from shared.settings import Settings
from tests.support.checkout import ROOT
from tests.support.waiting import wait_until

DEPLOY = ROOT / "deploy"


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    with EmbeddedPostgres(tmp_path_factory.mktemp("roles"), durable=False) as running:
        upgrade(settings_of(running.migration_url))
        yield running


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory):
    with EmbeddedRedis(tmp_path_factory.mktemp("user"), durable=False) as running:
        yield running


def settings_of(url: str) -> Settings:
    return Settings.model_validate({"database_url": url, "redis_url": ""})


ATTACKS = [
    "COPY (SELECT 1) TO PROGRAM 'id'",
    "COPY runs FROM PROGRAM 'id'",
    "COPY (SELECT 1) TO '/tmp/out'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_ls_dir('.')",
    "SELECT lo_import('/etc/passwd')",
    "CREATE TABLE mine (x int)",
    "CREATE TEMP TABLE mine (x int)",
    "CREATE SCHEMA mine",
    "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "ALTER TABLE runs DISABLE TRIGGER ALL",
    "ALTER TABLE runs OWNER TO runyard_app",
    "DROP TABLE runs",
    "TRUNCATE runs",
    "CREATE ROLE mine SUPERUSER",
    "ALTER ROLE runyard_app SUPERUSER",
    "SET ROLE runyard_owner",
    "SET SESSION AUTHORIZATION runyard",
    "CREATE DATABASE mine",
    "ALTER SYSTEM SET archive_command = 'id'",
    "SELECT rolpassword FROM pg_authid",
]


@pytest.mark.parametrize("statement", ATTACKS)
def test_the_role_of_the_processes_gets_at_rows_only(postgres, statement):
    with psycopg.connect(postgres.application_url, autocommit=True) as connection:
        with pytest.raises((InsufficientPrivilege, psycopg.errors.UndefinedFile)):
            connection.execute(statement)
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (0,)


@pytest.mark.parametrize("statement", [one for one in ATTACKS if "PROGRAM" in one or "ROLE mine" in one])
def test_the_role_of_the_migrations_is_no_superuser_either(postgres, statement):
    with (
        psycopg.connect(postgres.migration_url, autocommit=True) as connection,
        pytest.raises(InsufficientPrivilege),
    ):
        connection.execute(statement)


def test_a_table_of_a_later_migration_can_be_used_at_once(postgres):
    with psycopg.connect(postgres.migration_url, autocommit=True) as owner:
        owner.execute("CREATE TABLE later (number serial, word text)")
        with psycopg.connect(postgres.application_url, autocommit=True) as application:
            application.execute("INSERT INTO later (word) VALUES ('new')")
            assert application.execute("DELETE FROM later RETURNING number").fetchone() == (1,)
        owner.execute("DROP TABLE later")


def test_random_passwords_cost_a_connection_no_time(postgres):
    with psycopg.connect(postgres.url) as superuser:
        stored = superuser.execute("SELECT rolpassword FROM pg_authid WHERE rolcanlogin").fetchall()
    assert len(stored) == 3
    assert all(word.startswith("SCRAM-SHA-256$1:") for (word,) in stored)


def test_data_of_an_earlier_release_is_handed_over(tmp_path):
    with EmbeddedPostgres(tmp_path, durable=False) as earlier:
        with psycopg.connect(earlier.url, autocommit=True) as superuser:
            superuser.execute("REASSIGN OWNED BY runyard_app, runyard_owner TO runyard")
            superuser.execute("DROP OWNED BY runyard_app, runyard_owner")
            superuser.execute("DROP ROLE runyard_app, runyard_owner")
        upgrade(settings_of(earlier.url))  # as the superuser, who owned everything
        with psycopg.connect(earlier.url, autocommit=True) as superuser:
            superuser.execute("CREATE TABLE memory (number serial, word text)")
            superuser.execute("INSERT INTO memory (word) VALUES ('kept')")
    with EmbeddedPostgres(tmp_path, durable=False) as later:
        upgrade(settings_of(later.migration_url))
        with psycopg.connect(later.application_url, autocommit=True) as application:
            assert application.execute("SELECT word FROM memory").fetchall() == [("kept",)]
            application.execute("INSERT INTO memory (word) VALUES ('new')")
            with pytest.raises(InsufficientPrivilege):
                application.execute("DROP TABLE runs")
        with psycopg.connect(later.migration_url, autocommit=True) as owner:
            owner.execute("ALTER TABLE runs ADD COLUMN later text")
            owner.execute("DROP FUNCTION tally_runs() CASCADE")


def test_migrate_uses_the_role_that_owns_the_schema(tmp_path):
    with EmbeddedPostgres(tmp_path, durable=False) as postgres:
        urls = {"RUNYARD_DATABASE_URL": postgres.application_url, "RUNYARD_MIGRATION_DATABASE_URL": ""}
        assert CliRunner(env=urls).invoke(migrate_app).exit_code == 1
        urls["RUNYARD_MIGRATION_DATABASE_URL"] = postgres.migration_url
        done = CliRunner(env=urls).invoke(migrate_app)
        assert done.exit_code == 0, done.output
        engine = make_engine(settings_of(postgres.application_url))
        assert is_current(engine)
        engine.dispose()


@pytest.mark.parametrize(
    ("role", "said"), [("application_url", None), ("migration_url", "may create"), ("url", "superuser")]
)
def test_the_doctor_names_a_role_that_may_too_much(postgres, services, role, said):
    engine = make_engine(services.settings(database_url=getattr(postgres, role)))
    with engine.connect() as connection:
        found = {finding.name: finding for finding in examine_server(connection, lambda: 0.0)}["Role"]
    engine.dispose()
    assert bool(found.advice) is (said is not None)
    assert said is None or said in found.seen


@pytest.mark.parametrize(
    "command",
    [
        *("CONFIG GET requirepass", "CONFIG SET dir /tmp", "FLUSHALL", "FLUSHDB", "KEYS *", "SCAN 0"),
        *("EVAL return(1) 0", "SAVE", "BGSAVE", "DEBUG SLEEP 0", "MODULE LIST", "SLAVEOF NO ONE"),
        *("REPLICAOF NO ONE", "SHUTDOWN NOSAVE", "ACL LIST", "ACL SETUSER mine", "MONITOR"),
        *("CLIENT LIST", "CLIENT KILL TYPE normal", "CLIENT PAUSE 1", "SCRIPT FLUSH", "MIGRATE h 1 k 0 1"),
        *("PUBLISH strangers x", "PSUBSCRIBE *", "SUBSCRIBE strangers", "SWAPDB 0 1"),
    ],
)
def test_the_user_of_the_processes_may_not_steer_redis(redis_server, command):
    with redis.Redis.from_url(redis_server.application_url) as client:
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.execute_command(*command.split())
        assert client.ping()


def test_the_user_of_the_processes_may_do_what_celery_does(redis_server):
    with Celery(broker=redis_server.application_url) as celery:
        celery.send_task("some.task", ignore_result=True)
        with celery.connection() as connection:
            message = connection.SimpleQueue("celery").get(timeout=5)
            assert message.headers["task"] == "some.task"
            message.ack()
        assert celery.control.inspect(timeout=0.1).ping() is None


def test_nobody_but_the_administrator_can_empty_redis(redis_server):
    with redis.Redis.from_url(redis_server.url) as administrator:
        assert administrator.acl_whoami() == "default"
        assert administrator.flushall()


@pytest.mark.parametrize("prefix", ["", "ours:"])
def test_the_script_of_the_deployment_starts_redis_with_that_user_alone(tmp_path, prefix):
    stubs = tmp_path / "bin"
    stubs.mkdir()
    for name, body in {"docker-entrypoint.sh": 'shift; exec "$SERVER" "$@"', "chown": ":"}.items():
        (stubs / name).write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        (stubs / name).chmod(0o755)
    (tmp_path / "redis_password").write_text("word\n", encoding="utf-8")
    script = (DEPLOY / "redis.sh").read_text(encoding="utf-8")
    script = script.replace("/run/secrets", str(tmp_path)).replace("/tmp/users", f"{tmp_path}/users")  # noqa: S108  # the container's
    (tmp_path / "redis.sh").write_text(script, encoding="utf-8")
    port = free_port()
    env = {"PATH": f"{stubs}:{os.environ['PATH']}", "SERVER": str(find_redis_server())}
    env["RUNYARD_REDIS_PREFIX"] = prefix
    process = subprocess.Popen(
        ["sh", tmp_path / "redis.sh", "--port", str(port), "--bind", "127.0.0.1"],  # noqa: S607  # whatever shell
        env=env,
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
    )
    try:
        with redis.Redis.from_url(f"redis://runyard:word@127.0.0.1:{port}/0") as client:
            wait_until(lambda: _answers(client), timeout=60, what="Redis to answer")
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.flushall()
            assert client.lpush(f"{prefix}runs", "x") == 1
            if prefix:
                with pytest.raises(redis.exceptions.NoPermissionError):
                    client.lpush("runs", "x")
        with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
        assert "word" not in " ".join(psutil.Process(process.pid).cmdline())
        users = (tmp_path / "users.acl").read_text(encoding="utf-8")
        assert "word" not in users
        assert users.rstrip().endswith(redis_user.rules_of(prefix))
    finally:
        process.kill()
        process.wait(60)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False

"""PostgreSQL as operators have it: behind a pooler, in a schema of its own, on one of several hosts."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import timedelta

import psycopg
import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError, OperationalError

from cli.doctor.diagnosis import diagnose
from cli.doctor.findings import Severity
from cli.local.embedded.postgres import EmbeddedPostgres
from shared.db import Fault, fault_of, make_engine, make_sessions, unit_of_work
from shared.migrations.schema import is_current
from shared.migrations.upgrade import upgrade
from shared.models import Run
from shared.processes.ports import free_port
from tests.support.factories import Factories
from tests.support.pgbouncer import CONNECTIONS, running_pgbouncer

OUR_SCHEMA = "options=-c%20search_path%3Dours"


@contextmanager
def closing_engine(engine):
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def connected(settings):
    """The engine of a process with these settings."""
    with closing_engine(make_engine(settings)) as engine:
        yield engine


def with_url(settings, url):
    return type(settings).model_validate(
        {"database_url": url, "redis_url": settings.redis_url.get_secret_value()}
    )


@pytest.fixture
def direct_url(committed_settings):
    return committed_settings.database_url.get_secret_value()


@pytest.fixture
def pooled(tmp_path, committed_settings, direct_url):
    """Settings of processes behind a pgbouncer that is said to be there."""
    with running_pgbouncer(tmp_path / "pgbouncer", direct_url) as pooler:
        settings = with_url(committed_settings, pooler.through(direct_url))
        yield settings.model_copy(update={"database_pooler": "transaction"})


def test_a_pooler_that_is_not_spoken_of_refuses_our_options(pooled):
    unspoken = pooled.model_copy(update={"database_pooler": "none"})
    with (
        connected(unspoken) as engine,
        pytest.raises(OperationalError, match="unsupported startup parameter"),
    ):
        engine.connect()


def test_many_transactions_share_the_few_connections_of_a_pooler(pooled, make_run, dispatcher):
    runs = [make_run() for _ in range(4)]
    both = threading.Barrier(8)

    def work(number):
        both.wait(60)
        for turn in range(30):  # psycopg prepares what it sees for the sixth time
            with unit_of_work(sessions) as session:
                run = session.scalars(select(Run).where(Run.id == runs[number % 4].id)).one()
                session.execute(select(func.count()).where(Run.status == run.status, Run.attempt == turn))

    with connected(pooled) as engine, ThreadPoolExecutor(8) as threads:
        sessions = make_sessions(engine)
        list(threads.map(work, range(8)))
        made = Factories(sessions, dispatcher).run()
        with sessions() as session:
            assert session.get(Run, made.id) is not None


def test_a_threshold_in_the_address_does_not_prepare_behind_a_pooler(pooled):
    eager = with_url(pooled, f"{pooled.database_url.get_secret_value()}?prepare_threshold=0")
    eager = eager.model_copy(update={"database_pooler": "transaction"})
    with connected(eager) as engine, engine.connect() as one, engine.connect() as other:
        for connection in (one, other, one, other):
            assert connection.scalar(text("SELECT count(*) FROM pg_prepared_statements")) == 0
            connection.rollback()


@pytest.fixture
def in_tokyo(superuser_engine):
    """The server's time zone; to be asked for before the pooler, which keeps what it has connected to."""
    with superuser_engine.begin() as connection:
        name = connection.scalar(select(func.current_database()))
        connection.execute(text(f"ALTER DATABASE \"{name}\" SET timezone = 'Asia/Tokyo'"))


def test_what_a_transaction_relies_on_is_set_behind_a_pooler_and_ends_with_it(in_tokyo, pooled, make_run):
    del in_tokyo
    run = make_run()
    limits = {"statement_timeout": timedelta(seconds=7), "lock_timeout": timedelta(seconds=3)}
    engine = make_engine(pooled, limits=limits)
    with closing_engine(engine), make_sessions(engine)() as session:
        shown = [session.scalar(text(f"SHOW {name}")) for name in ("timezone", *limits)]
        created = session.get(Run, run.id).created_at
        assert shown == ["UTC", "7s", "3s"]
    assert (created, created.utcoffset()) == (run.created_at, timedelta(0))
    for _ in range(2 * CONNECTIONS):  # whoever has the connections next finds nothing of it
        with psycopg.connect(pooled.database_url.get_secret_value(), autocommit=True) as stranger:
            seen = [stranger.execute(f"SHOW {name}").fetchone()[0] for name in ("timezone", *limits)]
            assert seen == ["Asia/Tokyo", "0", "0"]


@pytest.mark.parametrize("way", ["direct", "pooled"])
def test_a_client_that_stops_in_a_transaction_keeps_no_lock(request, committed_settings, make_run, way):
    """A process may be stopped, swapped out or cut off at any moment, and its runs are taken over."""
    given = committed_settings if way == "direct" else request.getfixturevalue("pooled")
    settings = given.model_copy(update={"lease_ttl": timedelta(seconds=0.3)})
    run = make_run()
    locked = select(Run.id).where(Run.id == run.id).with_for_update()
    with connected(settings) as engine, engine.connect() as stopped, connected(given) as others:
        stopped.scalar(locked)
        with others.begin() as successor:
            successor.execute(text("SET LOCAL lock_timeout = '20s'"))
            assert successor.scalar(locked) == run.id
        with pytest.raises(DBAPIError) as refused:
            stopped.scalar(locked)
        assert fault_of(refused.value) is Fault.OUTAGE
        assert refused.value.connection_invalidated


def test_a_pooler_that_is_gone_is_an_outage(tmp_path, committed_settings, direct_url):
    with ExitStack() as exits:
        pooler = exits.enter_context(running_pgbouncer(tmp_path / "pgbouncer", direct_url))
        settings = with_url(committed_settings, pooler.through(direct_url))
        with connected(settings.model_copy(update={"database_pooler": "transaction"})) as engine:
            sessions = make_sessions(engine)
            with unit_of_work(sessions) as session:
                assert session.scalar(select(func.count()).select_from(Run)) == 0
            with engine.connect() as connection:
                exits.close()
                with pytest.raises(OperationalError):  # at the beginning of the transaction
                    connection.scalar(select(func.count()).select_from(Run))


def test_a_migration_leaves_nothing_behind_in_the_pooler_s_connections(tmp_path, services, settings):
    services._create("runyard_pooled", template="template1")
    direct = services.postgres.database_url("runyard_pooled")
    try:
        with running_pgbouncer(tmp_path / "pgbouncer", direct, connections=1) as pooler:
            url = pooler.through(direct)
            migrated = with_url(settings, url).model_copy(update={"database_pooler": "transaction"})
            upgrade(migrated)
            with connected(migrated) as engine:
                assert is_current(engine)
            with psycopg.connect(url, autocommit=True) as stranger:  # on the one connection there is
                assert stranger.execute("SHOW lock_timeout").fetchone() == ("0",)
    finally:
        services._execute("DROP DATABASE {} WITH (FORCE)", "runyard_pooled")


def test_the_doctor_looks_through_a_pooler(pooled, make_run):
    make_run()
    found = {finding.name: finding for finding in diagnose(pooled).findings}
    assert {found[name].severity for name in ("PostgreSQL", "Schema", "Invariants")} == {Severity.OK}


def test_the_caller_s_search_path_is_migrated_and_used_by_every_process(services, settings, dispatcher):
    services._create("runyard_ours", template="template1")
    direct = services.postgres.database_url("runyard_ours")
    ours = with_url(settings, f"{direct}?{OUR_SCHEMA}")
    try:
        with psycopg.connect(direct, autocommit=True) as connection:
            connection.execute("CREATE SCHEMA ours")
        upgrade(ours)
        with connected(ours) as engine:
            assert is_current(engine)
            Factories(make_sessions(engine), dispatcher).run()
            with engine.connect() as connection:
                assert connection.scalar(text("SHOW timezone")) == "UTC"  # ours is kept beside it
                assert connection.scalar(text("SELECT count(*) FROM ours.runs")) == 1
                assert connection.scalar(text("SELECT to_regclass('public.runs')")) is None
        found = {finding.name: finding.severity for finding in diagnose(ours).findings}
        assert {found[name] for name in ("PostgreSQL", "Schema", "Invariants")} == {Severity.OK}
    finally:
        services._execute("DROP DATABASE {} WITH (FORCE)", "runyard_ours")


@pytest.mark.parametrize(("threshold", "prepared"), [("1", True), ("none", False)])
def test_a_parameter_of_psycopg_s_own_keeps_its_type(committed_settings, direct_url, threshold, prepared):
    settings = with_url(committed_settings, f"{direct_url}?prepare_threshold={threshold}")
    with connected(settings) as engine, engine.connect() as connection:
        for _ in range(4):
            connection.execute(select(func.now()))
        count = connection.scalar(text("SELECT count(*) FROM pg_prepared_statements"))
        assert bool(count) is prepared


def test_the_address_s_own_words_count_for_more_than_our_defaults(committed_settings, direct_url):
    settings = with_url(committed_settings, f"{direct_url}?application_name=theirs")
    with connected(settings) as engine, engine.connect() as connection:
        assert connection.scalar(text("SHOW application_name")) == "theirs"


def test_a_host_that_is_away_is_passed_over(committed_settings, direct_url):
    login, _, place = direct_url.rpartition("@")
    settings = with_url(committed_settings, f"{login}@127.0.0.1:{free_port()},{place}")
    with connected(settings) as engine, engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(Run)) == 0


def test_of_several_hosts_the_one_that_can_write_is_taken(tmp_path, committed_settings, direct_url):
    login, _, place = direct_url.rpartition("@")
    told = psycopg.conninfo.conninfo_to_dict(direct_url)
    with EmbeddedPostgres(tmp_path / "standby", durable=False) as standby:
        with psycopg.connect(standby.url, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{told["dbname"]}"')
            connection.execute(f"ALTER ROLE {told['user']} SET default_transaction_read_only = on")
            connection.execute(f"ALTER ROLE {told['user']} PASSWORD '{told['password']}'")
        hosts = f"{login}@127.0.0.1:{standby.port},{place}"
        for attributes, port in (("read-write", told["port"]), ("any", str(standby.port))):
            settings = with_url(committed_settings, f"{hosts}?target_session_attrs={attributes}")
            with connected(settings) as engine, engine.connect() as connection:
                assert connection.scalar(text("SHOW port")) == port

"""PostgreSQL that is there and refuses: honest answers meanwhile, and nothing left of it after."""

import asyncio
from functools import partial

import pytest

from shared.db import make_engine
from tests.support.refusals import refusing_writes
from tests.support.waiting import wait_until


@pytest.fixture
def read_only(services, committed_settings):
    """The test's own database takes no writes for the length of a block."""
    return partial(refusing_writes, services, committed_settings)


def database(served):
    return served.client.get("/health/ready").json()["database"]


def test_while_it_only_reads_writes_are_a_503_and_readiness_says_so(served, read_only):
    assert served.client.post("/api/threads", json={"name": "x"}).status_code == 201
    wait_until(lambda: database(served) == "ready")
    with read_only():
        for path in ("/api/threads", "/api/v1/threads"):
            answer = served.client.post(path, json={"name": "x"})
            assert answer.status_code == 503
            assert answer.headers["Retry-After"]
        assert served.client.get("/api/threads").status_code == 200
        wait_until(lambda: database(served) == "unavailable")
        assert served.client.get("/health/live").status_code == 200


def test_connections_to_a_server_that_was_demoted_are_dropped(served, read_only):
    with read_only():
        assert served.client.post("/api/threads", json={"name": "x"}).status_code == 503
    # Those of the pool are still of the time when it refused; one refusal drops them all.
    wait_until(lambda: database(served) == "ready", timeout=60)
    for _ in range(5):
        assert served.client.post("/api/threads", json={"name": "x"}).status_code == 201


def test_readiness_leaves_nothing_behind(served, committed_engine):
    with committed_engine.connect() as connection:
        writes = "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables"
        before = connection.exec_driver_sql(writes).scalar()
        assert [database(served) for _ in range(3)] == ["ready"] * 3
        connection.exec_driver_sql("SELECT pg_stat_clear_snapshot()")
        assert connection.exec_driver_sql(writes).scalar() == before


def test_a_deadlock_is_begun_anew_and_not_told(served, monkeypatch):
    from shared.threads import service  # noqa: PLC0415  # the module whose name the endpoint looks up

    create, tries = service.create, []

    def unlucky(session, *args, **kwargs):
        tries.append(1)
        made = create(session, *args, **kwargs)
        if len(tries) == 1:
            session.connection().exec_driver_sql(
                "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'deadlock_detected'; END $$"
            )
        return made

    monkeypatch.setattr(service, "create", unlucky)
    assert served.client.post("/api/threads", json={"name": "x"}).status_code == 201
    assert len(tries) == 2
    assert served.client.get("/api/threads").json()["pagination"]["total_count"] == 1


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ("lock_not_available", 503),
        ("query_canceled", 503),
        ("disk_full", 503),
        ("too_many_connections", 503),
        ("admin_shutdown", 503),
        ("crash_shutdown", 503),
        ("cannot_connect_now", 503),
        ("connection_failure", 503),
        ("connection_does_not_exist", 503),
        ("read_only_sql_transaction", 503),
        ("deadlock_detected", 503),
        ("serialization_failure", 503),
        ("foreign_key_violation", 409),
        ("unique_violation", 409),
        ("string_data_right_truncation", 400),
    ],
)
def test_what_postgresql_says_is_passed_on_in_terms_of_http(served, monkeypatch, condition, status):
    from shared.threads import service  # noqa: PLC0415  # the module whose name the endpoint looks up

    def refused(session, *_):
        session.connection().exec_driver_sql(
            f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{condition}'; END $$"
        )

    monkeypatch.setattr(service, "create", refused)
    answer = served.client.post("/api/threads", json={"name": "x"})
    assert answer.status_code == status
    assert ("Retry-After" in answer.headers) == (status == 503)


@pytest.mark.parametrize("name", ["subscriber", "run-watch", "key-uses", "key-watch"])
def test_a_process_that_loses_a_task_it_lives_by_says_so_and_ends(served, name):
    loop = served.server.config.app.state.loop = served.resources.vitals

    def find():
        return [task for task in all_tasks(served) if task.get_name() == name]

    (task,) = find()
    task.get_loop().call_soon_threadsafe(task.cancel)
    wait_until(lambda: loop.dead == (name,), timeout=60)
    wait_until(lambda: served.server.should_exit, timeout=60)
    assert served.server.has_given_up


def all_tasks(served):
    """The tasks of the server's loop, which runs in another thread."""
    (loop,) = {task.get_loop() for task in asyncio.tasks._all_tasks if not task.done()}
    del served
    return asyncio.all_tasks(loop)


def test_a_pool_forgets_every_connection_of_a_server_that_was_demoted(committed_settings):
    engine = make_engine(committed_settings)
    with engine.connect() as one, engine.connect() as other:
        pids = {each.exec_driver_sql("SELECT pg_backend_pid()").scalar() for each in (one, other)}
        other.rollback()
        one.rollback()
        one.exec_driver_sql("SET TRANSACTION READ ONLY")
        with pytest.raises(Exception, match="read-only"):
            one.exec_driver_sql("DELETE FROM idempotency_keys")
    with engine.connect() as one, engine.connect() as other:
        now = {each.exec_driver_sql("SELECT pg_backend_pid()").scalar() for each in (one, other)}
    engine.dispose()
    assert not pids & now

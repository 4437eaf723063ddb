"""Sessions that hold what others need, each opened as a person would in psql."""

import threading
from contextlib import contextmanager

import pytest
from sqlalchemy import func, select, text

from cli.doctor import locks
from cli.doctor.locks import examine_locks
from shared.db import Lock
from shared.models import Run
from tests.support.waiting import wait_until

HOLD = Lock.CHANGE(select(Run.id), Run)


@pytest.fixture
def examined(committed_engine):
    """What is found; the word of the finding, or nothing."""

    def examined():
        with committed_engine.connect() as connection:
            return " ".join(f"{one.seen} {one.advice}" for one in examine_locks(connection))

    return examined


@contextmanager
def holding(engine, *, application=None):
    """Hold all runs for a block; yields the id of the session."""
    with engine.connect() as holder, holder.begin():
        if application is not None:
            holder.execute(select(func.set_config("application_name", application, True)))
        holder.execute(HOLD)
        yield holder.scalars(text("SELECT pg_backend_pid()")).one()


@pytest.fixture
def wait_for_all(committed_engine):
    """Let a session of ours wait for all runs, which somebody holds until the test ends at the latest."""
    waiters = []

    def wait():
        with committed_engine.begin() as waiter:
            waiter.execute(HOLD)

    def begin():
        waiters.append(threading.Thread(target=wait))
        waiters[-1].start()

    yield begin
    for waiter in waiters:
        waiter.join(30)


def test_nobody_is_named_who_holds_nothing_for_long(examined, committed_engine, factories):
    factories.run()
    with holding(committed_engine):
        assert examined() == ""


def test_a_session_of_our_role_is_named_with_its_age(examined, committed_engine, factories, monkeypatch):
    factories.run()
    monkeypatch.setattr(locks, "LONG", 0.0)
    with holding(committed_engine) as pid:
        told = examined()
    assert f"{pid} (role 'runyard_app', 'runyard', " in told
    assert "from 127.0.0.1, idle in transaction, for 0 s)" in told
    assert examined() == ""


def test_a_session_without_a_name_is_told_by_the_rest(examined, committed_engine, factories, monkeypatch):
    factories.run()
    monkeypatch.setattr(locks, "LONG", 0.0)
    with holding(committed_engine, application="") as pid:
        assert f"{pid} (role 'runyard_app', from 127.0.0.1, idle" in examined()


def test_a_session_of_another_role_is_named_if_it_stays(
    examined, wait_for_all, superuser_engine, factories, monkeypatch
):
    factories.run()
    monkeypatch.setattr(locks, "LOOK_AGAIN", 0.2)
    with holding(superuser_engine) as pid:
        wait_for_all()
        told = wait_until(lambda: "wait for them: 1." in (told := examined()) and told, timeout=30)
    assert f"{pid} (role " in told
    assert "for at least 0.2 s" in told
    assert f"pg_terminate_backend({pid})" in told
    assert examined() == ""


def test_who_waits_for_a_holder_is_counted_and_not_named(
    examined, wait_for_all, superuser_engine, factories, monkeypatch
):
    factories.run()
    monkeypatch.setattr(locks, "LONG", 0.0)
    monkeypatch.setattr(locks, "LOOK_AGAIN", 0.2)
    with holding(superuser_engine) as pid:
        for _ in range(3):
            wait_for_all()
        named = f"by their process ids: {pid} (role "
        told = wait_until(lambda: "wait for them: 3." in (told := examined()) and named in told and told)
    assert "), " not in told
    assert f"pg_terminate_backend({pid})" in told


def test_a_schema_may_have_any_name(superuser_engine):
    with superuser_engine.connect() as connection:
        connection.exec_driver_sql('CREATE SCHEMA "My own"')
        connection.exec_driver_sql('SET search_path = "My own"')
        connection.exec_driver_sql("CREATE TABLE held ()")
        assert examine_locks(connection) == []

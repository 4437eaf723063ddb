"""Connections: one is asked whether it lives only where that is not sure, and none outlives its engine."""

import pytest
from sqlalchemy import text

from shared import db
from shared.db import make_engine, make_sessions, unit_of_work


@pytest.fixture
def pings(committed_engine, monkeypatch):
    """The pings of the engine so far."""
    done = []
    ping = committed_engine.dialect.do_ping

    def counted(connection):
        done.append(connection)
        return ping(connection)

    monkeypatch.setattr(committed_engine.dialect, "do_ping", counted)
    return done


@pytest.fixture
def backend(committed_sessions):
    """Return the process of the server that does a transaction."""

    def backend():
        with unit_of_work(committed_sessions) as session:
            return session.scalar(text("SELECT pg_backend_pid()"))

    return backend


def test_a_connection_that_was_just_used_is_not_pinged(backend, pings):
    assert len({backend() for _ in range(5)}) == 1
    assert pings == []


def test_a_connection_that_was_idle_is_pinged(backend, pings, monkeypatch):
    first = backend()
    monkeypatch.setattr(db, "PING_AFTER", -1.0)
    assert backend() == first
    assert len(pings) == 1


def test_a_connection_that_the_server_has_just_ended_is_not_used(backend, superuser_engine, committed_engine):
    first = backend()
    end_and_wait = text("SELECT pg_terminate_backend(:pid, 5000)")
    with unit_of_work(make_sessions(superuser_engine)) as session:
        assert session.scalar(end_and_wait, {"pid": first})
    assert backend() != first  # at once, and without an error
    assert committed_engine.pool.checkedout() == 0


def test_a_connection_that_comes_back_after_the_end_of_its_engine_is_closed(committed_settings):
    engine = make_engine(committed_settings)
    with engine.connect() as late:
        driver = late.connection.driver_connection
        engine.dispose()
        assert not driver.closed, "whoever is in a transaction may end it"
    assert driver.closed


def test_an_engine_that_is_used_after_its_end_keeps_no_connection(committed_settings):
    """As by a thread that began its transaction a moment too late."""
    engine = make_engine(committed_settings)
    engine.dispose()
    with engine.connect() as late:
        driver = late.connection.driver_connection
    assert driver.closed

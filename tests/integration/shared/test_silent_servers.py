"""A server that hangs: whoever set limits to his statements waits no longer than these and a connection's."""

from contextlib import ExitStack
from datetime import timedelta

import psutil
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from shared.db import Fault, fault_of, for_reading, make_engine, make_sessions, unit_of_work
from tests.support.faults import frozen

LIMITS = {"statement_timeout": timedelta(seconds=0.5)}


@pytest.fixture
def sessions_of(committed_settings):
    """Make sessions on connections with these limits."""
    engines = []

    def sessions_of(limits):
        settings = committed_settings.model_copy(update={"database_timeout": timedelta(seconds=1)})
        engines.append(make_engine(settings, limits=limits))
        return make_sessions(engines[-1])

    yield sessions_of
    for engine in engines:
        engine.dispose()


def backend(session):
    """The process of the server that serves a session."""
    return psutil.Process(session.scalar(text("SELECT pg_backend_pid()")))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("readers", [lambda sessions: sessions, for_reading])
def test_a_statement_of_a_frozen_server_is_an_outage(sessions_of, readers):
    sessions = readers(sessions_of(LIMITS))
    with sessions() as session:
        process = backend(session)
        with frozen([process]), pytest.raises(OperationalError, match=r"no answer within 1\.5 s") as raised:
            session.scalar(text("SELECT 1"))
        assert fault_of(raised.value) is Fault.OUTAGE
        assert raised.value.connection_invalidated
        session.rollback()
    with sessions() as session:
        assert backend(session) != process, "the late answer would be taken for that of another statement"


@pytest.mark.timeout(60)
def test_a_commit_to_a_frozen_server_is_an_outage(sessions_of):
    sessions = sessions_of(LIMITS)

    with (
        ExitStack() as until_the_end,
        pytest.raises(OperationalError) as raised,
        unit_of_work(sessions) as session,
    ):
        until_the_end.enter_context(frozen([backend(session)]))
    assert fault_of(raised.value) is Fault.OUTAGE


@pytest.mark.timeout(60)
def test_a_limit_that_the_server_enforces_leaves_the_connection(sessions_of):
    with sessions_of(LIMITS)() as session:
        process = backend(session)
        with pytest.raises(OperationalError, match="statement timeout"):
            session.execute(text("SELECT pg_sleep(60)"))
        session.rollback()
        assert backend(session) == process


@pytest.mark.timeout(60)
def test_who_sets_no_limit_may_wait_for_longer(sessions_of):
    with sessions_of({})() as session:
        assert session.scalar(text("SELECT 'done' FROM pg_sleep(2)")) == "done"

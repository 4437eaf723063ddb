"""Sessions that only read: no transaction around their statements, and nothing else is different."""

import pytest
from psycopg.pq import TransactionStatus
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from shared.db import for_reading, make_engine, make_sessions, unit_of_work, words_of
from shared.settings import TRANSACTION

PLANTED = "planted-words-of-a-user"


@pytest.fixture
def sessions(settings):
    """Sessions on one connection, which readers and writers share in turns."""
    engine = make_engine(settings, pool_size=1)
    yield make_sessions(engine)
    engine.dispose()


def status_of(session):
    """What the connection says of its transaction, with a process id: a pool of one has one."""
    driver = session.connection().connection.driver_connection
    return driver.info.transaction_status, driver.info.backend_pid


def test_a_reading_is_in_no_transaction_and_leaves_the_connection_as_it_was(sessions):
    readings = for_reading(sessions)
    found = []
    for factory in (sessions, readings, sessions, readings):
        with unit_of_work(factory) as session:
            assert session.scalar(text("SELECT current_setting('timezone')")) == "UTC"
            found.append(status_of(session))
    (_, one), *_ = found
    in_and_out = (TransactionStatus.INTRANS, TransactionStatus.IDLE)
    assert found == [(status, one) for status in (*in_and_out, *in_and_out)]


def test_an_error_of_a_reading_quotes_no_value_and_the_next_reading_works(sessions):
    readings = for_reading(sessions)
    with pytest.raises(DBAPIError) as raised, unit_of_work(readings) as session:
        session.execute(text("SELECT CAST(:said AS jsonb)"), {"said": PLANTED})
    assert words_of(raised.value) == "SQLSTATE 22P02"
    assert PLANTED not in str(raised.value)
    with unit_of_work(readings) as session:
        assert session.scalar(text("SELECT 1")) == 1


def test_behind_a_pooler_readings_have_transactions_which_begin_with_their_settings(settings):
    pooled = settings.model_validate({**settings.model_dump(), "database_pooler": TRANSACTION})
    engine = make_engine(pooled, pool_size=1)
    try:
        sessions = make_sessions(engine)
        assert for_reading(sessions) is sessions
    finally:
        engine.dispose()

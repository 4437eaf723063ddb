"""What an error of the database means."""

import psycopg
import pytest
from psycopg import errors
from sqlalchemy import exc as sql
from sqlalchemy.orm.exc import StaleDataError

from shared.db import Fault, fault_of, is_passing

STATES = {
    "40001": Fault.CONTENTION,
    "40P01": Fault.CONTENTION,
    "55P03": Fault.CONTENTION,
    "25006": Fault.OUTAGE,
    "25P03": Fault.OUTAGE,
    "53100": Fault.OUTAGE,
    "53200": Fault.OUTAGE,
    "53300": Fault.OUTAGE,
    "57014": Fault.OUTAGE,
    "57P01": Fault.OUTAGE,
    "57P02": Fault.OUTAGE,
    "57P03": Fault.OUTAGE,
    "57P05": Fault.OUTAGE,
    "58030": Fault.OUTAGE,
    "08006": Fault.OUTAGE,
    "23503": Fault.GONE,
    "23505": Fault.TAKEN,
    "23514": Fault.UNSTORABLE,
    "22021": Fault.UNSTORABLE,
    "54000": Fault.UNSTORABLE,
    "23502": Fault.BUG,
    "42P01": Fault.BUG,
    "42501": Fault.BUG,
    "XX000": Fault.BUG,
}


def wrapped(original):
    """An error of the driver as SQLAlchemy raises it."""
    return sql.DBAPIError.instance("SELECT 1", {}, original, psycopg.Error)


@pytest.mark.parametrize(("state", "fault"), STATES.items())
def test_what_postgresql_said_decides(state, fault):
    try:
        kind = errors.lookup(state)
    except KeyError:
        kind = type("Unknown", (psycopg.OperationalError,), {"sqlstate": state})
    error = wrapped(kind("as it was said"))
    assert fault_of(error) is fault
    assert fault_of(error.orig) is fault
    assert is_passing(error) == (fault in {Fault.OUTAGE, Fault.CONTENTION})


@pytest.mark.parametrize(
    "words",
    [
        "server closed the connection unexpectedly",
        "connection refused",
        "[Errno -2] Name or service not known",
        "consuming input failed: Connection reset by peer",
    ],
)
def test_a_server_that_says_nothing_is_away(words):
    assert fault_of(wrapped(psycopg.OperationalError(words))) is Fault.OUTAGE


def test_no_connection_in_time_is_an_outage():
    assert fault_of(sql.TimeoutError("QueuePool limit")) is Fault.OUTAGE


def test_a_row_that_was_deleted_before_its_change_is_gone():
    assert fault_of(StaleDataError("0 rows")) is Fault.GONE


@pytest.mark.parametrize("error", [ValueError("x"), sql.InvalidRequestError("x"), sql.ArgumentError("x")])
def test_anything_else_is_a_bug(error):
    assert fault_of(error) is Fault.BUG
    assert not is_passing(error)

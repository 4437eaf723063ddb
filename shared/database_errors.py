"""What an error of the database means: one classification, for every process that meets one."""

from collections.abc import Iterator
from enum import StrEnum
from typing import Final

from sqlalchemy import exc as sql
from sqlalchemy.orm.exc import ObjectDeletedError, StaleDataError


class Fault(StrEnum):
    """Whose fault an error is, and so what helps."""

    CONTENTION = "contention"  # others were in the way: the same transaction may well succeed at once
    OUTAGE = "outage"  # PostgreSQL is away, or there and refuses: later
    GONE = "gone"  # what was to be changed, or is referred to, has been deleted meanwhile
    TAKEN = "taken"  # what was to be unique is there already
    UNSTORABLE = "unstorable"  # a value that the tables do not take
    BUG = "bug"  # anything else is ours


_BY_STATE: Final = {
    "40001": Fault.CONTENTION,  # serialization_failure; a standby that cancels for its recovery says so, too
    "40P01": Fault.CONTENTION,  # deadlock_detected
    "55P03": Fault.CONTENTION,  # lock_not_available, also after lock_timeout
    "25006": Fault.OUTAGE,  # read_only_sql_transaction: a server that was demoted, or is a standby
    "25P03": Fault.OUTAGE,  # idle_in_transaction_session_timeout
    "25P04": Fault.OUTAGE,  # transaction_timeout
    "40003": Fault.OUTAGE,  # statement_completion_unknown
    "55000": Fault.OUTAGE,  # object_not_in_prerequisite_state: what recovery does not allow
    "57014": Fault.OUTAGE,  # query_canceled: statement_timeout, or an administrator
    "23503": Fault.GONE,  # foreign_key_violation
    "23001": Fault.GONE,  # restrict_violation
    "23505": Fault.TAKEN,  # unique_violation
    "23P01": Fault.TAKEN,  # exclusion_violation
    "23514": Fault.UNSTORABLE,  # check_violation
}
_BY_CLASS: Final = {
    "08": Fault.OUTAGE,  # connection exceptions
    "53": Fault.OUTAGE,  # insufficient resources: disk full, out of memory, too many connections
    "57": Fault.OUTAGE,  # operator intervention: shutdowns, a crash, a server that is starting
    "58": Fault.OUTAGE,  # system errors: input and output, files that are missing
    "22": Fault.UNSTORABLE,  # data exceptions
    "54": Fault.UNSTORABLE,  # program limits: too large for an index, too deep
}

DEMOTED: Final = "25006"
"""What a server says that took writes before, and does not any more: connections to it are of no use."""


LACKING: Final = frozenset({"3F000", "42703", "42P01"})
"""What a server says of a schema, a column or a table that is not there: it has not been migrated."""


def fault_of(error: BaseException) -> Fault:
    """Classify an error by what PostgreSQL said, or by how it said nothing."""
    if isinstance(error, StaleDataError | ObjectDeletedError):
        return Fault.GONE
    state = sqlstate_of(error)
    if state is not None:
        return _BY_STATE.get(state) or _BY_CLASS.get(state[:2], Fault.BUG)
    if isinstance(error, sql.TimeoutError | sql.InterfaceError | sql.OperationalError):
        return Fault.OUTAGE  # nobody answered: refused, reset, unknown to DNS, or no connection was free
    if isinstance(error, sql.DBAPIError) and error.connection_invalidated:
        return Fault.OUTAGE
    return Fault.BUG


def is_passing(error: BaseException) -> bool:
    """Whether the same work may succeed later, and nobody has done anything wrong."""
    return fault_of(error) in {Fault.CONTENTION, Fault.OUTAGE}


def is_lost_race(error: BaseException) -> bool:
    """Whether PostgreSQL has ended a transaction in favour of another; begun anew, it goes through."""
    return sqlstate_of(error) in {"40001", "40P01"}


def sqlstate_of(error: BaseException) -> str | None:
    """The five characters that PostgreSQL gave an error; None if it gave none."""
    states = (getattr(one, "sqlstate", None) for one in _told_by(error))
    return next((state for state in states if isinstance(state, str)), None)


def constraint_of(error: BaseException) -> str | None:
    """The name of the constraint that an error is about; None if it is about none."""
    names = (getattr(getattr(one, "diag", None), "constraint_name", None) for one in _told_by(error))
    return next((name for name in names if isinstance(name, str)), None)


def words_of(error: BaseException) -> str:
    """What the driver said, for a log line."""
    return str(getattr(error, "orig", None) or error.__cause__ or error).strip()


def _told_by(error: BaseException) -> Iterator[BaseException]:
    """An error and what of the driver's is in it."""
    yield error
    for inner in (getattr(error, "orig", None), error.__cause__):
        if isinstance(inner, BaseException):
            yield inner

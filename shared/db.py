"""The database: engine, row locks, units of work, callbacks after a commit, and what errors mean."""

import select
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from enum import Enum, StrEnum
from typing import Any, Final, TypeVar

import orjson
import psycopg
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from sqlalchemy import URL, Engine, ExceptionContext, PoolProxiedConnection, Select, create_engine, event
from sqlalchemy import exc as sql
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker
from sqlalchemy.orm.exc import ObjectDeletedError, StaleDataError
from sqlalchemy.pool import ConnectionPoolEntry

from shared.addresses.postgres import PREPARE_THRESHOLD
from shared.metrics import definitions as metrics
from shared.settings import TRANSACTION, Settings

Sessions = sessionmaker[Session]

Rows = TypeVar("Rows", bound=Select[*tuple[Any, ...]])
Answer = TypeVar("Answer")


class Lock(Enum):
    """A row lock from the read to the end of the transaction.

    Code that changes or deletes a row reads it under its lock. A row that was deleted meanwhile is then
    not found, rather than failing later. Several locks are always taken in this order:

    1. the organization, by work that starts in it (REFERENCE) or deletes it (REMOVAL);
    2. the assistant or the structure of a run;
    3. the run that occupies a thread, and any other run that is ended;
    4. the thread;
    5. the runs that wait for the thread, and its messages;
    6. rules, by their ids; then the ruleset; then its list of rules, by both ids.

    Keys are locked one at a time; when their uses are stored, locked keys are skipped.
    """

    REFERENCE = "reference"  # others may change the row, not delete it
    CHANGE = "change"  # nobody else changes the row
    REMOVAL = "removal"  # and nobody adds a reference to it

    def __call__(self, query: Rows, of: type[DeclarativeBase]) -> Rows:
        """Lock the query's rows of one table, and read them as they are after the lock."""
        match self:
            case Lock.REFERENCE:
                locked = query.with_for_update(read=True, key_share=True, of=of)
            case Lock.CHANGE:
                locked = query.with_for_update(key_share=True, of=of)
            case Lock.REMOVAL:
                locked = query.with_for_update(of=of)
        return locked.execution_options(populate_existing=True)


def locked(query: Rows, lock: Lock | None, of: type[DeclarativeBase]) -> Rows:
    """The query, under a lock if one is given."""
    return query if lock is None else lock(query, of)


POOLED: Final = "postgresql+pooled"

registry.register("postgresql.pooled", __name__, "PooledDialect")


class PooledDialect(PGDialect_psycopg):
    """PostgreSQL behind a pooler that lends a connection per transaction.

    Such a session has several users: a setting would outlive its transaction, and poolers refuse session
    options. So every transaction begins with the settings that it needs, and they end with it.
    """

    supports_statement_cache = True

    def __init__(self, transaction_settings: Mapping[str, str] | None = None, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]  # SQLAlchemy's
        self._settings = dict(transaction_settings or {})
        calls = ", ".join("set_config(%s, %s, true)" for _ in self._settings)
        self._statement = f"SELECT {calls}"
        self._values = [word for pair in self._settings.items() for word in pair]

    def do_begin(self, dbapi_connection: DBAPIConnection) -> None:
        """Begin a transaction and apply the settings. Errors are raised as by any statement."""
        if self._settings:
            cursor = dbapi_connection.cursor()
            try:
                cursor.execute(self._statement, self._values)
            finally:
                cursor.close()


KEEPALIVES: Final = {
    # A vanished peer is noticed within about 15 s.
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}


def _dumps(value: Any) -> str:
    return orjson.dumps(value).decode()


def make_engine(
    settings: Settings, *, pool_size: int | None = None, limits: Mapping[str, timedelta] | None = None
) -> Engine:
    """Create the engine of a process; under prefork after the fork.

    PostgreSQL ends a transaction in which its client has done nothing for a lease. A process that was stopped
    or swapped out in a transaction would otherwise keep the locks of its runs for ever, and nobody could take
    the runs over.

    Args:
        settings: address and timeouts of the database.
        pool_size: the largest number of connections; by default that of the settings.
        limits: timeouts that PostgreSQL enforces on these connections, by their names in PostgreSQL.

    Raises:
        shared.addresses.base.AddressError: `settings.database_url` is not an address of PostgreSQL.
    """
    all_limits = {"idle_in_transaction_session_timeout": settings.lease_ttl, **(limits or {})}
    ours = {"timezone": "UTC"} | {
        name: f"{int(limit.total_seconds() * 1000)}ms" for name, limit in all_limits.items()
    }
    timeout = settings.database_timeout.total_seconds()
    is_pooled = settings.database_pooler == TRANSACTION
    arguments = _connect_arguments(settings, {} if is_pooled else ours)
    pooled: dict[str, Any] = {"transaction_settings": ours} if is_pooled else {}
    driver = POOLED if is_pooled else "postgresql+psycopg"
    engine = create_engine(
        URL.create(driver, database=arguments.get("dbname")),
        pool_size=pool_size or settings.database_pool,
        max_overflow=0,
        pool_timeout=timeout,
        pool_use_lifo=True,
        hide_parameters=True,  # texts of users must not be logged
        json_serializer=_dumps,
        json_deserializer=orjson.loads,
        use_native_hstore=False,  # or each process asks at its start whether there is that type
        connect_args=arguments,
        **pooled,
    )
    event.listen(engine, "handle_error", _leave_demoted)
    event.listen(engine, "handle_error", _hide_values)
    event.listen(engine, "handle_error", _count)
    _ping_where_due(engine)
    _close_what_comes_late(engine)
    if (statement := all_limits.get("statement_timeout")) is not None:
        _leave_silent(engine, (statement + settings.database_timeout).total_seconds())
    return engine


PING_AFTER: Final = 1.0  # seconds that a connection was idle
_IDLE_SINCE: Final = "runyard_idle_since"


def _ping_where_due(engine: Engine) -> None:
    """Ping a connection before its transaction if it was idle for long, or if something came meanwhile.

    Without it, the first transaction after a restart of the server fails. A server that ends a connection
    says so, or closes the socket; a ping costs a round trip only where neither is sure.
    """

    def note_idle(_connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
        record.info[_IDLE_SINCE] = time.monotonic()

    def ping(connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: PoolProxiedConnection) -> None:
        idle_since = record.info.get(_IDLE_SINCE)
        if idle_since is None:  # it is new
            return
        if time.monotonic() - idle_since <= PING_AFTER and not _has_news(connection):
            return
        try:
            engine.dialect.do_ping(connection)
        except psycopg.Error as error:
            raise sql.InvalidatePoolError from error  # all of its age; then SQLAlchemy connects anew

    event.listen(engine, "checkin", note_idle)
    event.listen(engine, "checkout", ping)


def _close_what_comes_late(engine: Engine) -> None:
    """Let an engine keep no connection after its first `engine.dispose()`; it may still lend new ones.

    A thread may be in its transaction at that moment, or about to begin one, and no thread can be cancelled.
    SQLAlchemy puts its connection into a pool, and nobody would ever close it.
    """
    is_disposed = False

    def note(_engine: Engine) -> None:
        nonlocal is_disposed
        is_disposed = True

    def close(_connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
        if is_disposed:
            record.invalidate()

    event.listen(engine, "engine_disposed", note)
    event.listen(engine, "checkin", close)


class _BoundedConnection(psycopg.Connection[Any]):
    """A connection that is closed when an answer takes longer than `patience` seconds."""

    patience: float | None = None

    def wait(self, gen: PQGen[Answer], *args: Any, **options: Any) -> Answer:
        """Wait for an answer.

        Raises:
            psycopg.OperationalError: the server sent an error, or none came in time.
        """
        try:
            return super().wait(gen, *args, **{"timeout": self.patience} | options)
        except psycopg.OperationalError as error:
            if self.pgconn.transaction_status != TransactionStatus.ACTIVE:
                raise
            self.pgconn.finish()  # an answer that comes yet would be taken for that to the next statement
            raise psycopg.OperationalError(f"no answer within {self.patience:g} s") from error


def _leave_silent(engine: Engine, patience: float) -> None:
    """Close a connection whose server no longer enforces its own limits, such as a frozen one.

    Its kernel still acknowledges what is sent. The connection looks alive, and its user would wait for ever.
    """

    def connect(
        _dialect: object, _record: object, args: Sequence[Any], arguments: Mapping[str, Any]
    ) -> _BoundedConnection:
        connection = _BoundedConnection.connect(*args, **arguments)
        connection.patience = patience
        return connection

    event.listen(engine, "do_connect", connect)


def _has_news(connection: Any) -> bool:
    """Whether something has arrived on a connection that waits for nothing, such as its end."""
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _connect_arguments(settings: Settings, session: Mapping[str, str]) -> dict[str, Any]:
    """The arguments of psycopg. Parameters of the address override the defaults.

    Args:
        session: settings for the whole session, after those of the address; empty behind a pooler.
    """
    given = settings.postgres_address
    options = [given.get("options") or "", *(f"-c {name}={value}" for name, value in session.items())]
    arguments: dict[str, Any] = {
        "connect_timeout": max(2, int(settings.database_timeout.total_seconds())),
        "application_name": "runyard",
        **KEEPALIVES,
        **given,
    }
    if any(options):
        arguments["options"] = " ".join(filter(None, options))
    if not session:
        arguments[PREPARE_THRESHOLD] = None
    return arguments


def _leave_demoted(context: ExceptionContext) -> None:
    """Drop all connections to a demoted server; a new one may reach its successor."""
    if context.original_exception is not None and sqlstate_of(context.original_exception) == DEMOTED:
        context.is_disconnect = True
        context.invalidate_pool_on_disconnect = True


def _hide_values(context: ExceptionContext) -> None:
    """Leave out of an error what quotes rows and parameters: its details, and messages about data."""
    error, told = context.original_exception, context.sqlalchemy_exception
    if not isinstance(error, psycopg.Error) or not error.diag.message_primary:
        return
    is_about_data = (error.sqlstate or "").startswith("22")
    words = f"SQLSTATE {error.sqlstate}" if is_about_data else error.diag.message_primary
    error.args = (words,)
    if told is not None:
        told.args = (f"({type(error).__module__}.{type(error).__qualname__}) {words}",)


def _count(context: ExceptionContext) -> None:
    if context.original_exception is not None:
        metrics.DATABASE_ERRORS.inc(fault_of(context.sqlalchemy_exception or context.original_exception))


def make_sessions(engine: Engine) -> Sessions:
    """Create the session factory of an engine. Loaded objects stay readable after the commit."""
    return sessionmaker(engine, expire_on_commit=False)


def for_reading(sessions: Sessions) -> Sessions:
    """Create a factory of sessions on the same connections that only read: no BEGIN and no COMMIT is sent.

    Each statement sees what is committed when it begins, as in a transaction of READ COMMITTED. Behind a
    pooler, sessions need the settings with which their transactions begin.
    """
    engine = sessions.kw["bind"]
    if isinstance(engine.dialect, PooledDialect):
        return sessions
    return make_sessions(engine.execution_options(isolation_level="AUTOCOMMIT"))


@contextmanager
def unit_of_work(sessions: Sessions) -> Generator[Session]:
    """Run a block as one transaction, then its `after_commit` callbacks."""
    with sessions() as session:
        with session.begin():
            yield session
        run_after_commit(session)


@contextmanager
def part_of(session: Session) -> Generator[None]:
    """Run a block as a part of a transaction: an error undoes the block with its callbacks, no more."""
    callbacks = session.info.setdefault("after_commit", [])
    earlier = len(callbacks)
    try:
        with session.begin_nested():
            yield
    except BaseException:
        del callbacks[earlier:]
        raise


def after_commit(session: Session, callback: Callable[[], object]) -> None:
    """Call `callback` after the commit; never after a rollback."""
    session.info.setdefault("after_commit", []).append(callback)


def run_after_commit(session: Session) -> None:
    """Call the `after_commit` callbacks in order. One that fails keeps none back; its error comes last."""
    with ExitStack() as callbacks:
        for callback in reversed(session.info.pop("after_commit", ())):
            callbacks.callback(callback)


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

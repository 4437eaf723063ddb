"""The database: engine, units of work, and what is to happen after a commit."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from enum import Enum
from typing import Any, Final, TypeVar

import orjson
from sqlalchemy import URL, Engine, ExceptionContext, Select, create_engine, event
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker

from shared import pooled_dialect
from shared.database_errors import DEMOTED, sqlstate_of
from shared.postgres_address import PREPARE_THRESHOLD
from shared.settings import TRANSACTION, Settings

Sessions = sessionmaker[Session]

Rows = TypeVar("Rows", bound=Select[*tuple[Any, ...]])


class Lock(Enum):
    """How a row is held from its reading to the end of the transaction.

    Who changes or deletes a row reads it under its lock, so that what has been deleted meanwhile is not
    found instead of failing later. Several locks are taken in one order, wherever they are needed:

    1. the organization, by what is begun in it (REFERENCE) or deletes it (REMOVAL);
    2. the assistant or the structure of a run;
    3. the run that has a thread, and any other run that is being ended;
    4. the thread;
    5. the runs that wait for the thread, and what it holds: messages;
    6. rules, by their ids; then the ruleset; then which ruleset lists which rules, by both ids.

    Keys are locked one at a time, or, when their uses are recorded, only if nobody else has them.
    """

    REFERENCE = "reference"  # it stays there; others may change it
    CHANGE = "change"  # nobody else changes it
    REMOVAL = "removal"  # and nobody refers to it anew

    def __call__(self, query: Rows, of: type[DeclarativeBase]) -> Rows:
        """A query that locks those of its rows that are `of` one table, and reads them as they are then."""
        match self:
            case Lock.REFERENCE:
                locked = query.with_for_update(read=True, key_share=True, of=of)
            case Lock.CHANGE:
                locked = query.with_for_update(key_share=True, of=of)
            case Lock.REMOVAL:
                locked = query.with_for_update(of=of)
        return locked.execution_options(populate_existing=True)


def locked(query: Rows, lock: Lock | None, of: type[DeclarativeBase]) -> Rows:
    """A query under a lock, if there is to be one."""
    return query if lock is None else lock(query, of)


KEEPALIVES: Final = {
    # A peer that vanished without a word is noticed within about 15 s.
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
    """Make the engine of one process; under prefork, after the fork.

    Args:
        settings: where the database is and how patient to be.
        pool_size: connections to keep at the most; the setting's number if absent.
        limits: PostgreSQL's own timeouts for what these connections do, by their names there.

    Raises:
        shared.addresses.AddressError: `settings.database_url` is no address of PostgreSQL.
    """
    ours = {"timezone": "UTC"} | {
        name: f"{int(limit.total_seconds() * 1000)}ms" for name, limit in (limits or {}).items()
    }
    timeout = settings.database_timeout.total_seconds()
    is_pooled = settings.database_pooler == TRANSACTION
    arguments = _connect_arguments(settings, {} if is_pooled else ours)
    pooled: dict[str, Any] = {"transaction_settings": ours} if is_pooled else {}
    driver = pooled_dialect.NAME if is_pooled else "postgresql+psycopg"
    engine = create_engine(
        URL.create(driver, database=arguments.get("dbname")),
        pool_size=pool_size or settings.database_pool,
        max_overflow=0,
        pool_timeout=timeout,
        pool_pre_ping=True,  # hides a restarted server; without it the first transaction fails
        pool_use_lifo=True,
        hide_parameters=True,  # what users said is not for the log
        json_serializer=_dumps,
        json_deserializer=orjson.loads,
        connect_args=arguments,
        **pooled,
    )
    event.listen(engine, "handle_error", _leave_demoted)
    return engine


def _connect_arguments(settings: Settings, session: Mapping[str, str]) -> dict[str, Any]:
    """What to connect with: the address's own words count for more than our defaults.

    Args:
        session: what is set for the whole session, after what the address sets; nothing behind a pooler.
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
    """Drop every connection to a server that takes no writes any more; the next may find its successor."""
    if context.original_exception is not None and sqlstate_of(context.original_exception) == DEMOTED:
        context.is_disconnect = True
        context.invalidate_pool_on_disconnect = True


def make_sessions(engine: Engine) -> Sessions:
    """The sessions of an engine; what they load stays readable after the commit."""
    return sessionmaker(engine, expire_on_commit=False)


@contextmanager
def unit_of_work(sessions: Sessions) -> Generator[Session]:
    """Run a block as one transaction, then what it asked to be done after."""
    with sessions() as session:
        with session.begin():
            yield session
        run_after_commit(session)


def after_commit(session: Session, callback: Callable[[], object]) -> None:
    """Do `callback` once the transaction has committed; never if it rolls back."""
    session.info.setdefault("after_commit", []).append(callback)


def run_after_commit(session: Session) -> None:
    """Do, in order, what was asked for with `after_commit`."""
    for callback in session.info.pop("after_commit", ()):
        callback()

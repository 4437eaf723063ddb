"""The database: engine, units of work, and what is to happen after a commit."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

import orjson
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session, sessionmaker

from shared.settings import Settings

Sessions = sessionmaker[Session]

OUTAGE_ERRORS: Final = (OperationalError, InterfaceError, PoolTimeoutError)
"""What it looks like when PostgreSQL is away, starting, or out of connections."""


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
    """
    session_options = {"timezone": "UTC"} | {
        name: f"{int(limit.total_seconds() * 1000)}ms" for name, limit in (limits or {}).items()
    }
    timeout = settings.database_timeout.total_seconds()
    return create_engine(
        settings.sqlalchemy_url,
        pool_size=pool_size or settings.database_pool,
        max_overflow=0,
        pool_timeout=timeout,
        pool_pre_ping=True,  # hides a restarted server; without it the first transaction fails
        pool_use_lifo=True,
        hide_parameters=True,  # what users said is not for the log
        json_serializer=_dumps,
        json_deserializer=orjson.loads,
        connect_args={
            "connect_timeout": max(2, int(timeout)),
            "application_name": "runyard",
            "options": " ".join(f"-c {name}={value}" for name, value in session_options.items()),
            # A peer that vanished without a word is noticed within about 15 s.
            "keepalives_idle": 5,
            "keepalives_interval": 3,
            "keepalives_count": 3,
            "tcp_user_timeout": 15_000,
        },
    )


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

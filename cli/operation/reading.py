"""Read-only sessions of an operator's commands, bounded in time."""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from psycopg.errors import QueryCanceled
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from cli.database_sessions import readable_database_errors
from shared.db import make_engine
from shared.errors import RunyardError
from shared.settings import Settings

STATEMENT_TIMEOUT: Final = timedelta(seconds=10)


class TooSlowError(RunyardError):
    """A statement took longer than an operator's command may hold the database."""

    def __init__(self) -> None:
        limit = STATEMENT_TIMEOUT.total_seconds()
        super().__init__(
            f"The database took longer than {limit:g} s: narrow the runs, by --organization, --assistant,"
            " --status or --newer-than, or look at its load."
        )


@contextmanager
def reader(settings: Settings) -> Generator[Engine]:
    """Yield an engine of one read-only connection, whose statements end after `STATEMENT_TIMEOUT`.

    Raises:
        shared.addresses.base.AddressError: the address is not one of PostgreSQL.
    """
    engine = make_engine(settings, pool_size=1, limits={"statement_timeout": STATEMENT_TIMEOUT})
    try:
        yield engine.execution_options(postgresql_readonly=True)
    finally:
        engine.dispose()


@contextmanager
def reading(engine: Engine) -> Generator[Session]:
    """Yield a session of one transaction.

    Raises:
        TooSlowError: a statement took too long.
        cli.database_sessions.DatabaseEmptyError,
        cli.database_sessions.DatabaseRefusedError: the database failed.
    """
    with readable_database_errors():
        try:
            with Session(engine) as session, session.begin():
                yield session
        except DBAPIError as error:
            if isinstance(error.orig, QueryCanceled):
                raise TooSlowError from error
            raise

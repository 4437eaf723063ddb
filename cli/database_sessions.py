"""Sessions of the commands, and readable errors of the database."""

from collections.abc import Generator
from contextlib import contextmanager

from psycopg.errors import UndefinedTable
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session

from shared.db import make_engine, make_sessions, unit_of_work
from shared.errors import RunyardError
from shared.processes.invocation import runyard
from shared.settings import Settings


class DatabaseRefusedError(RunyardError):
    """The database cannot be reached, or refuses a statement."""

    def __init__(self, error: Exception) -> None:
        super().__init__(f"The database: {str(error).splitlines()[0]}")


class DatabaseEmptyError(RunyardError):
    """The database lacks tables of this release."""

    def __init__(self) -> None:
        super().__init__(f"The database lacks tables of this release: run `{runyard('migrate')}`.")


@contextmanager
def readable_database_errors() -> Generator[None]:
    """Translate errors of SQLAlchemy into readable ones.

    Raises:
        DatabaseEmptyError: the block used a table that does not exist.
        DatabaseRefusedError: the database failed in another way.
    """
    try:
        yield
    except SQLAlchemyError as error:
        if isinstance(error, DBAPIError) and isinstance(error.orig, UndefinedTable):
            raise DatabaseEmptyError from error
        raise DatabaseRefusedError(error) from error


@contextmanager
def one_session(settings: Settings) -> Generator[Session]:
    """Run a block as one transaction, then close all connections.

    Raises:
        DatabaseEmptyError, DatabaseRefusedError: see `readable_database_errors`.
    """
    engine = make_engine(settings, pool_size=1)
    try:
        with readable_database_errors(), unit_of_work(make_sessions(engine)) as session:
            yield session
    finally:
        engine.dispose()

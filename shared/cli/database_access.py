"""A database for one unit of work, and what it has against it in one line."""

from collections.abc import Generator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from shared.db import make_engine, make_sessions, unit_of_work
from shared.errors import RunyardError
from shared.settings import Settings


class DatabaseRefusedError(RunyardError):
    """The database cannot be reached, or refuses what it is asked for."""

    def __init__(self, error: Exception) -> None:
        super().__init__(f"The database: {str(error).splitlines()[0]}")


@contextmanager
def readable_database_errors() -> Generator[None]:
    """Raise what SQLAlchemy raises as an error for people.

    Raises:
        DatabaseRefusedError: the block failed on the database.
    """
    try:
        yield
    except SQLAlchemyError as error:
        raise DatabaseRefusedError(error) from error


@contextmanager
def one_session(settings: Settings) -> Generator[Session]:
    """Run a block as one transaction, and let go of the database.

    Raises:
        DatabaseRefusedError: the block failed on the database.
    """
    engine = make_engine(settings, pool_size=1)
    try:
        with readable_database_errors(), unit_of_work(make_sessions(engine)) as session:
            yield session
    finally:
        engine.dispose()

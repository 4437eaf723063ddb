"""Database access of the administrative commands: address, sessions, readable errors."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from psycopg.errors import UndefinedTable
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session

from cli.local.dev_file import find_dev_file
from shared.db import make_engine, make_sessions, unit_of_work
from shared.errors import RunyardError
from shared.processes.invocation import runyard
from shared.settings import Settings, is_given

DataDir = Annotated[Path, typer.Option(help="The directory of `runyard dev`, if it runs the database.")]


class NoDatabaseKnownError(RunyardError):
    """No variable and no running `runyard dev` names a database."""

    def __init__(self) -> None:
        super().__init__(f"Set RUNYARD_DATABASE_URL, or start `{runyard('dev')}`.")


class DatabaseRefusedError(RunyardError):
    """The database cannot be reached, or refuses a statement."""

    def __init__(self, error: Exception) -> None:
        super().__init__(f"The database: {str(error).splitlines()[0]}")


class DatabaseEmptyError(RunyardError):
    """The database lacks tables of this release."""

    def __init__(self) -> None:
        super().__init__(f"The database lacks tables of this release: run `{runyard('migrate')}`.")


def database_settings(data_dir: Path) -> Settings:
    """Return the settings with the address of the database, and that of Redis if known.

    Raises:
        NoDatabaseKnownError: neither the environment nor `runyard dev` names a database.
    """
    urls = {}
    if not is_given("redis_url"):
        urls["redis_url"] = ""
    if not is_given("database_url"):
        known = find_dev_file(data_dir)
        if known is None:
            raise NoDatabaseKnownError
        urls = {"database_url": known.database_url} | dict.fromkeys(urls, known.redis_url)
    return Settings.model_validate(urls)


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

"""Where the commands that work on the database find it, and what it has against them in one line."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from psycopg.errors import UndefinedTable
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session

from shared.cli.dev_file import find_dev_file
from shared.cli.invocation import runyard
from shared.db import make_engine, make_sessions, unit_of_work
from shared.errors import RunyardError
from shared.settings import Settings

DataDir = Annotated[Path, typer.Option(help="The directory of `runyard dev`, if that runs the database.")]


class NoDatabaseKnownError(RunyardError):
    """Nothing says where the database is."""

    def __init__(self) -> None:
        super().__init__(f"Set RUNYARD_DATABASE_URL, or start `{runyard('dev')}`.")


class DatabaseRefusedError(RunyardError):
    """The database cannot be reached, or refuses what it is asked for."""

    def __init__(self, error: Exception) -> None:
        super().__init__(f"The database: {str(error).splitlines()[0]}")


class DatabaseEmptyError(RunyardError):
    """The database lacks tables of this release."""

    def __init__(self) -> None:
        super().__init__(f"The database lacks tables of this release: run `{runyard('migrate')}`.")


def database_settings(data_dir: Path) -> Settings:
    """The settings, with the database's address; with that of Redis too, where it is known.

    Raises:
        NoDatabaseKnownError: neither the environment nor `runyard dev` names one.
    """
    urls = {"redis_url": os.environ.get("RUNYARD_REDIS_URL", "")}
    if not os.environ.get("RUNYARD_DATABASE_URL"):
        known = find_dev_file(data_dir)
        if known is None:
            raise NoDatabaseKnownError
        urls["database_url"] = known.database_url
        urls["redis_url"] = urls["redis_url"] or known.redis_url
    return Settings.model_validate(urls)


@contextmanager
def readable_database_errors() -> Generator[None]:
    """Raise what SQLAlchemy raises as an error for people.

    Raises:
        DatabaseEmptyError: the block asked for a table that is not there.
        DatabaseRefusedError: the block failed on the database otherwise.
    """
    try:
        yield
    except SQLAlchemyError as error:
        if isinstance(error, DBAPIError) and isinstance(error.orig, UndefinedTable):
            raise DatabaseEmptyError from error
        raise DatabaseRefusedError(error) from error


@contextmanager
def one_session(settings: Settings) -> Generator[Session]:
    """Run a block as one transaction, and let go of the database.

    Raises:
        DatabaseEmptyError, DatabaseRefusedError: the block failed on the database.
    """
    engine = make_engine(settings, pool_size=1)
    try:
        with readable_database_errors(), unit_of_work(make_sessions(engine)) as session:
            yield session
    finally:
        engine.dispose()

"""The address of the database for the administrative commands."""

from pathlib import Path
from typing import Annotated

import typer

from cli.local.dev_file import find_dev_file
from shared.errors import RunyardError
from shared.processes.invocation import runyard
from shared.settings import Settings, is_given

DataDir = Annotated[Path, typer.Option(help="The directory of `runyard dev`, if it runs the database.")]


class NoDatabaseKnownError(RunyardError):
    """No variable and no running `runyard dev` names a database."""

    def __init__(self) -> None:
        super().__init__(f"Set RUNYARD_DATABASE_URL, or start `{runyard('dev')}`.")


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

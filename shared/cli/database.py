"""`runyard migrate` and `runyard keys`: what is done to the database itself."""

import os
from pathlib import Path
from typing import Annotated

import typer

from shared.cli.console import notice, output
from shared.cli.database_access import one_session, readable_database_errors
from shared.cli.dev_file import DATA_DIR, find_dev_file
from shared.cli.first_key import EMAIL, ORGANIZATION
from shared.errors import RunyardError
from shared.keys import service
from shared.migrations.upgrade import upgrade
from shared.settings import Settings

DataDir = Annotated[Path, typer.Option(help="The directory of `runyard dev`, if that runs the database.")]

migrate_app = typer.Typer(add_completion=False)
keys_app = typer.Typer(add_completion=False, no_args_is_help=True)


class NoDatabaseKnownError(RunyardError):
    """Set RUNYARD_DATABASE_URL, or start `runyard dev`."""


@migrate_app.command()
def migrate(*, data_dir: DataDir = DATA_DIR) -> None:
    """Bring the database to this release's schema."""
    settings = _settings(data_dir)
    with readable_database_errors():
        upgrade(settings.sqlalchemy_url)
    notice("The database is up to date.")


@keys_app.callback()
def keys() -> None:
    """API keys."""


@keys_app.command()
def create(
    *,
    organization: Annotated[str, typer.Option(help="Whose; made if there is none.")] = ORGANIZATION,
    email: Annotated[str, typer.Option(help="The user it acts as; made if there is none.")] = EMAIL,
    name: Annotated[str, typer.Option(help="What to call it.")] = "runyard keys create",
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Make an API key and print it; it is never to be seen again."""
    with one_session(_settings(data_dir)) as session:
        organization_id, user_id = service.ensure_member(session, organization=organization, email=email)
        _, secret = service.create_key(session, organization_id=organization_id, user_id=user_id, name=name)
    notice(f"A key of {email} in {organization}:")
    output(secret)


def _settings(data_dir: Path) -> Settings:
    """The settings, of which only the database's address matters here."""
    urls = {"redis_url": os.environ.get("RUNYARD_REDIS_URL", "")}
    if not os.environ.get("RUNYARD_DATABASE_URL"):
        known = find_dev_file(data_dir)
        if known is None:
            raise NoDatabaseKnownError
        urls["database_url"] = known.database_url
    return Settings.model_validate(urls)

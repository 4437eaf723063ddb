"""`runyard migrate`: the schema of the database."""

import typer

from cli.console import notice
from cli.database_access import DataDir, database_settings
from cli.database_sessions import readable_database_errors
from cli.local.dev_file import DATA_DIR
from cli.progress import progress
from shared.migrations.upgrade import upgrade

migrate_app = typer.Typer(add_completion=False)


@migrate_app.command()
def migrate(*, data_dir: DataDir = DATA_DIR) -> None:
    """Migrate the database to the schema of this release."""
    settings = database_settings(data_dir)
    with progress("Migrating"), readable_database_errors():
        upgrade(settings)
    notice("The database is up to date.")

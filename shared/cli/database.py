"""`runyard migrate`: the database's schema."""

import typer

from shared.cli.console import notice
from shared.cli.database_access import DataDir, database_settings, readable_database_errors
from shared.cli.dev_file import DATA_DIR
from shared.migrations.upgrade import upgrade

migrate_app = typer.Typer(add_completion=False)


@migrate_app.command()
def migrate(*, data_dir: DataDir = DATA_DIR) -> None:
    """Bring the database to this release's schema."""
    settings = database_settings(data_dir)
    with readable_database_errors():
        upgrade(settings)
    notice("The database is up to date.")

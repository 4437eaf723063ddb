"""Alembic's environment: where it finds the tables and the database."""

from alembic import context
from sqlalchemy import text

from shared.db import make_engine
from shared.models import Base
from shared.settings import Settings, get_settings

LOCK_TIMEOUT = "5s"
"""A migration that must wait longer for a table would hold up everything behind it."""


def run_migrations() -> None:
    """Migrate the database of `Config.attributes["settings"]`, or of this process's settings."""
    settings: Settings = context.config.attributes.get("settings") or get_settings()
    engine = make_engine(settings.for_migrations(), pool_size=1)
    try:
        with engine.begin() as connection:
            connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
            context.configure(connection=connection, target_metadata=Base.metadata)
            with context.begin_transaction():
                context.run_migrations()
    finally:
        engine.dispose()


run_migrations()

"""Alembic's environment: where it finds the tables and the database."""

from alembic import context
from sqlalchemy import create_engine, text

from shared.models import Base
from shared.settings import get_settings

LOCK_TIMEOUT = "5s"
"""A migration that must wait longer for a table would hold up everything behind it."""


def run_migrations() -> None:
    """Migrate the database of `Config.attributes["url"]`, or of the settings."""
    url = context.config.attributes.get("url") or get_settings().sqlalchemy_migration_url
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
            context.configure(connection=connection, target_metadata=Base.metadata)
            with context.begin_transaction():
                context.run_migrations()
    finally:
        engine.dispose()


run_migrations()

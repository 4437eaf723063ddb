"""Alembic's environment: where it finds the tables and the database."""

from datetime import timedelta
from typing import Any

from alembic import context

from shared.db import make_engine
from shared.models import RUN_EVENTS, Base
from shared.settings import Settings, get_settings

LOCK_TIMEOUT = timedelta(seconds=5)
"""A migration that must wait longer for a table would hold up everything behind it."""


def is_compared(name: str | None, kind: str, _parents: Any) -> bool:
    """Whether the models name it. Partitions are made by the database."""
    return kind != "table" or not (name or "").startswith(f"{RUN_EVENTS.name}_")


def run_migrations() -> None:
    """Migrate the database of `Config.attributes["settings"]`, or of this process's settings.

    Each migration is a transaction of its own, which it may leave for what is done online.
    """
    settings: Settings = context.config.attributes.get("settings") or get_settings()
    limits = {"lock_timeout": LOCK_TIMEOUT}
    engine = make_engine(settings.for_migrations(), pool_size=1, limits=limits)
    try:
        with engine.connect() as connection:
            context.configure(
                connection=connection,
                target_metadata=Base.metadata,
                include_name=is_compared,
                transaction_per_migration=True,
            )
            with context.begin_transaction():
                context.run_migrations()
    finally:
        engine.dispose()


run_migrations()

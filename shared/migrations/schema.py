"""The state of a database's schema, found without Alembic, which no server process needs."""

from enum import StrEnum
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, func, literal_column, select, table

VERSIONS: Final = Path(__file__).with_name("versions")
REVISIONS: Final = tuple(sorted(path.name.partition("_")[0] for path in VERSIONS.glob("[0-9]*.py")))
"""The migrations of this release, oldest first: the name of each file begins with its revision."""


class Schema(StrEnum):
    """How a database's schema is to this release."""

    CURRENT = "current"
    BEHIND = "behind"  # a migration of this release is missing
    NEWER = "newer"  # a later release has migrated it


def schema_of(connection: Connection) -> Schema:
    """Compare a database's migrations with those this release knows.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database cannot be reached, or refuses.
    """
    applied: set[str] = set()
    if connection.scalar(select(func.to_regclass("alembic_version"))) is not None:
        applied.update(
            connection.scalars(select(literal_column("version_num")).select_from(table("alembic_version")))
        )
    if applied.difference(REVISIONS):
        return Schema.NEWER
    return Schema.CURRENT if REVISIONS[-1] in applied else Schema.BEHIND


def is_current(engine: Engine) -> bool:
    """Whether the database has every migration this release knows, or is at a newer one's.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: as `schema_of`.
    """
    with engine.connect() as connection:
        return schema_of(connection) is not Schema.BEHIND

"""The roles of an installation in PostgreSQL: one that migrates, one that serves."""

from pathlib import Path
from typing import Final

import psycopg

OWNER: Final = "runyard_owner"
APPLICATION: Final = "runyard_app"

SQL: Final = Path(__file__).with_name("roles.sql")


def ensure_roles(connection: psycopg.Connection, *, owner_password: str, app_password: str) -> None:
    """Make both roles, with what belongs to each in the connection's database; again changes nothing.

    Args:
        connection: of a superuser; the settings it is given end with the transaction.

    Raises:
        psycopg.Error: it is none, or PostgreSQL refuses; nothing was done.
    """
    passwords = {"runyard.owner_password": owner_password, "runyard.app_password": app_password}
    with connection.transaction():
        for name, password in passwords.items():
            connection.execute("SELECT set_config(%s, %s, true)", [name, password])
        connection.execute(SQL.read_bytes())

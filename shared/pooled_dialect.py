"""SQLAlchemy's way of talking to PostgreSQL through a pooler that lends a connection for one transaction.

Behind it a session is not ours: what is set in one transaction meets strangers in the next, and poolers
refuse the options of a session. What we rely on is set in each transaction, therefore, and ends with it.
"""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine.interfaces import DBAPIConnection

NAME: Final = "postgresql+pooled"

registry.register("postgresql.pooled", __name__, "PooledDialect")


class PooledDialect(PGDialect_psycopg):
    """Begins each transaction with what a session would have been told once."""

    supports_statement_cache = True

    def __init__(self, transaction_settings: Mapping[str, str] | None = None, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]  # SQLAlchemy's
        self._settings = dict(transaction_settings or {})
        calls = ", ".join("set_config(%s, %s, true)" for _ in self._settings)
        self._statement = f"SELECT {calls}"
        self._values = [word for pair in self._settings.items() for word in pair]

    def do_begin(self, dbapi_connection: DBAPIConnection) -> None:
        """Begin a transaction; that it fails is seen here, as at any statement."""
        if self._settings:
            cursor = dbapi_connection.cursor()
            try:
                cursor.execute(self._statement, self._values)
            finally:
                cursor.close()

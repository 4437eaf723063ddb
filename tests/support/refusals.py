"""A PostgreSQL that is there and refuses."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, LiteralString

import psycopg
from psycopg import sql
from sqlalchemy import Engine

from shared.settings import Settings
from tests.support.services import TestServices

ALTER: Final[LiteralString] = "ALTER DATABASE {} SET default_transaction_read_only = {}"
DISCONNECT: Final[LiteralString] = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"


@contextmanager
def refusing_writes(services: TestServices, settings: Settings) -> Generator[None]:
    """Let a database only be read for the length of a block, as after a failover.

    Who was connected before is cut off. Who connected meanwhile is refused further on, until it
    connects anew: nobody tells.
    """
    name = settings.database_url.get_secret_value().rpartition("/")[2].partition("?")[0]
    with psycopg.connect(services.postgres.database_url("postgres"), autocommit=True) as connection:

        def become(value: str) -> None:
            connection.execute(sql.SQL(ALTER).format(sql.Identifier(name), sql.Literal(value)))

        become("on")
        connection.execute(DISCONNECT, [name])
        try:
            yield
        finally:
            become("off")


@contextmanager
def raising(engine: Engine, state: str) -> Generator[None]:
    """Have every change of a run refused with a SQLSTATE for the length of a block.

    Args:
        engine: connects as somebody who may change the tables.
    """
    refuse = f"""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{state}', MESSAGE = 'refused'; END $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON runs FOR EACH ROW EXECUTE FUNCTION refuse();
    """
    with engine.begin() as connection:
        connection.exec_driver_sql(refuse)
    try:
        yield
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP TRIGGER refuse ON runs; DROP FUNCTION refuse()")

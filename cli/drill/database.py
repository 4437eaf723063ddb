"""The invariants of the rows in PostgreSQL after a drill, if its URL is known."""

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from cli.doctor.invariants import check
from cli.drill.record import Facts
from shared.db import make_engine
from shared.settings import Settings


def ask_database(database_url: str | None, facts: Facts) -> None:
    """Record every violated invariant."""
    if database_url is None:
        facts.database_note = "no --database-url"
        return
    settings = Settings.model_validate({"database_url": database_url, "redis_url": "redis://unused"})
    engine = make_engine(settings, pool_size=1)
    try:
        with Session(engine) as session:
            facts.database = [str(violation) for violation in check(session)]
    except SQLAlchemyError as error:
        facts.database = [f"PostgreSQL could not be asked: {error.__cause__ or error}"]
    finally:
        engine.dispose()

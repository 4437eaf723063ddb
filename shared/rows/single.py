"""Single rows of tenants: read one by its id, store a new one, change one."""

import uuid
from collections.abc import Mapping
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from shared.db import Lock, locked
from shared.errors import ConflictError, NotFoundError
from shared.models import Base, Ruleset, Thread

Row = TypeVar("Row", bound=Base)


def get_owned(
    session: Session,
    model: type[Row],
    identifier: uuid.UUID,
    *conditions: ColumnElement[bool],
    missing: type[NotFoundError],
    lock: Lock | None = None,
) -> Row:
    """Return the row of an id that meets conditions: that its owner is the caller, that it is not deleted.

    Args:
        session: the transaction.
        model: the table.
        identifier: the id that the caller gives.
        conditions: what the caller may see.
        missing: the error if there is no such row, or if it is another's.
        lock: hold the row until the transaction ends.

    Raises:
        NotFoundError: `missing`, with the id.
    """
    table: Any = model
    query = select(model).where(table.id == identifier, *conditions)
    row = session.scalar(locked(query, lock, model))
    if row is None:
        raise missing(identifier)
    return row


def store(session: Session, row: Row) -> Row:
    """Insert a row and read the values that PostgreSQL gives it."""
    session.add(row)
    return change(session, row, {})


def change(session: Session, row: Row, fields: Mapping[str, Any]) -> Row:
    """Set fields of a row and read the values that PostgreSQL gives it."""
    set_fields(row, fields)
    session.flush()
    session.refresh(row)
    return row


def set_fields(row: Base, fields: Mapping[str, Any]) -> None:
    """Set fields of a row; they are written with the next flush."""
    for name, value in fields.items():
        setattr(row, name, value)


def flush_alias(session: Session, row: Thread | Ruleset) -> None:
    """Write a row whose alias is unique in its organization.

    Raises:
        ConflictError: another row has the alias.
    """
    alias = row.alias  # a flush that fails takes it away
    try:
        session.flush()
    except IntegrityError as error:
        if f"uq_{row.__tablename__}_alias" not in str(error.orig):
            raise
        noun = type(row).__name__.lower()
        message = f"Another {noun} has the alias {alias!r}."
        raise ConflictError(message) from error

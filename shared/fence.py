"""The fence: an attempt writes to its run only while it holds it."""

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import (
    CTE,
    Column,
    ColumnElement,
    FromClause,
    Integer,
    Uuid,
    and_,
    bindparam,
    func,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import InstrumentedAttribute, Session

from shared.errors import LeaseLostError
from shared.lifecycle import HELD
from shared.models import RUNS, Run

Attempt = int | ColumnElement[int] | InstrumentedAttribute[int | None]


def held_by(attempt: Attempt, *, run_id: uuid.UUID | None = None) -> ColumnElement[bool]:
    """Whether an attempt holds a run, as SQL: the row's run, or the run with `run_id`."""
    held = and_(Run.attempt == attempt, Run.status.in_(HELD))
    return held if run_id is None else and_(Run.id == run_id, held)


def held_by_any(attempts: Mapping[uuid.UUID, int]) -> ColumnElement[bool]:
    """Whether a run is held by the attempt that `attempts` names for it, as SQL."""
    return and_(tuple_(Run.id, Run.attempt).in_(attempts.items()), Run.status.in_(HELD))


def reserve(
    session: Session,
    run_id: uuid.UUID,
    *,
    attempt: int,
    counter: InstrumentedAttribute[int],
    count: int,
    stored_bytes: int = 0,
) -> int:
    """Reserve the next `count` numbers of a run's counter for an attempt that holds the run.

    The UPDATE locks the run's row until the commit. So the numbers have no hole, and writers of one run
    take turns.

    Args:
        counter: `Run.event_count` or `Run.log_count`.
        stored_bytes: bytes to add to the run's `stored_bytes`.

    Returns:
        The first number.

    Raises:
        LeaseLostError: another attempt holds the run, or the run has ended; nothing was written.
    """
    values: dict[InstrumentedAttribute[Any], Any] = {counter: counter + count, Run.updated_at: Run.updated_at}
    if stored_bytes:
        values[Run.stored_bytes] = Run.stored_bytes + stored_bytes
    reserved = session.scalar(
        update(Run)
        .where(held_by(attempt, run_id=run_id))
        .values(values)
        .returning(counter)
        .execution_options(synchronize_session=False)
    )
    if reserved is None:
        raise LeaseLostError(status=session.scalar(select(Run.status).where(Run.id == run_id)))
    return reserved - count


def given_attempts(*columns: Column[Any]) -> CTE:
    """The attempts of a batch, as SQL: `given_runs` with an `attempt` each.

    Args:
        columns: what each object has beside `run_id` and `attempt`.
    """
    return given_runs(Column("attempt", Integer), *columns)


def given_runs(
    *columns: Column[Any], where: Callable[[FromClause], ColumnElement[bool]] | None = None
) -> CTE:
    """The runs of a batch, as SQL: the objects in the parameter `given`, their rows locked.

    The rows are locked in the order of their ids. A row that somebody else has locked is left out: a batch
    waits for nobody, and so cannot be part of a deadlock.

    Args:
        columns: what each object has beside `run_id`.
        where: which rows are locked, given the objects; the others are left out.
    """
    given = (
        func.jsonb_to_recordset(bindparam("given", type_=JSONB))
        .table_valued(Column("run_id", Uuid), *columns)
        .render_derived(name="given", with_types=True)
    )
    query = select(given).join_from(given, RUNS, RUNS.c.id == given.c.run_id)
    if where is not None:
        query = query.where(where(given))
    return (
        query.order_by(RUNS.c.id).with_for_update(key_share=True, skip_locked=True, of=RUNS).cte("given_runs")
    )

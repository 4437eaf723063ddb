"""Leases: how a worker keeps the runs it executes."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import Column, Float, and_, func, or_, select, update
from sqlalchemy.orm import Session

from shared.fence import given_attempts, held_by, held_by_any
from shared.lifecycle import HELD, RunStatus
from shared.models import RUNS, Run


@dataclass(frozen=True, slots=True)
class Renewal:
    """Which leases were renewed, and which runs are lost; neither, if somebody has locked the run."""

    kept: frozenset[uuid.UUID]
    lost: Mapping[uuid.UUID, RunStatus | None]  # with the run's status; None if there is no such run


_given = given_attempts(Column("lease", Float)).c

_is_stopping = and_(Run.attempt == _given.attempt, Run.is_stopping)

_RENEW: Final = (
    update(RUNS)
    .where(RUNS.c.id == _given.run_id, or_(held_by(_given.attempt), _is_stopping))
    .values(
        lease_expires_at=func.now() + func.make_interval(0, 0, 0, 0, 0, 0, _given.lease),
        updated_at=Run.updated_at,
    )
    .returning(Run.id, Run.status)
)


def renew(session: Session, held: Mapping[uuid.UUID, int], *, lease_ttl: timedelta) -> Renewal:
    """Renew the leases of runs for `lease_ttl`, by the database's clock.

    A lapsed lease is renewed too, while no other attempt has the run; and that of a cancelled run, which is
    lost, until its work has stopped. A run that somebody else has locked is left out: it must not hold up the
    others.

    Args:
        held: the ids of the runs, each with the attempt that holds the run.
    """
    lease = lease_ttl.total_seconds()
    given = [{"run_id": run_id, "attempt": attempt, "lease": lease} for run_id, attempt in held.items()]
    renewed = session.connection().execute(_RENEW, {"given": given})
    kept = frozenset(run_id for run_id, status in renewed if status in HELD)
    missing = held.keys() - kept
    if not missing:
        return Renewal(kept, {})
    rows = session.execute(
        select(Run.id, Run.status, held_by_any(held).label("is_held")).where(Run.id.in_(missing))
    ).all()
    gone = missing - {row.id for row in rows}
    return Renewal(kept, {row.id: row.status for row in rows if not row.is_held} | dict.fromkeys(gone))

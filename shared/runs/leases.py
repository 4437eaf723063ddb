"""Leases: how a worker keeps the runs it executes."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select, tuple_, update
from sqlalchemy.orm import Session

from shared.models import Run
from shared.runs.lifecycle import HELD, RunStatus


@dataclass(frozen=True, slots=True)
class Renewal:
    """What became of some leases."""

    kept: frozenset[uuid.UUID]
    lost: Mapping[uuid.UUID, RunStatus | None]  # with the run's status; None if there is no such run


def renew(session: Session, held: Mapping[uuid.UUID, int], *, lease_ttl: timedelta) -> Renewal:
    """Keep runs for `lease_ttl` from now on, by the database's clock.

    A lease that lapsed is renewed all the same while nobody has taken the run.

    Args:
        held: the runs, each with the attempt that holds it.
    """
    statement = (
        update(Run)
        .where(tuple_(Run.id, Run.attempt).in_(held.items()), Run.status.in_(HELD))
        .values(lease_expires_at=func.now() + lease_ttl, updated_at=Run.updated_at)
        .returning(Run.id)
        .execution_options(synchronize_session=False)
    )
    kept = frozenset(session.scalars(statement))
    missing = held.keys() - kept
    if not missing:
        return Renewal(kept, {})
    rows = session.execute(select(Run.id, Run.status).where(Run.id.in_(missing)))
    statuses: dict[uuid.UUID, RunStatus | None] = dict.fromkeys(missing)
    statuses.update((run_id, status) for run_id, status in rows)
    return Renewal(kept, statuses)

"""How many of some things one user or organization may have, so that nobody fills the tables for all."""

import time
import uuid
from dataclasses import dataclass
from typing import Any, Final, Self

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from shared.errors import LimitReachedError, OutputTooLargeError
from shared.events.text import storable
from shared.models import ApiKey, Organization, Run
from shared.runs.lifecycle import ACTIVE
from shared.settings import Settings
from shared.structures.outputs import output_size, too_large


@dataclass(frozen=True, slots=True)
class Quotas:
    """The limits of an installation. Counts, not locks: two who create at once may both find room."""

    keys: int  # of one user in one organization
    organizations: int  # that one user has made
    external_runs: int  # of one organization, that have not ended
    stored_bytes: int  # of events and spans of one organization
    output: int  # bytes of what a structure run gives back, and of another event that it reports

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(
            settings.max_keys,
            settings.max_organizations,
            settings.max_external_runs,
            settings.max_stored_bytes,
            settings.structure_output,
        )

    def require_room_for_key(
        self, session: Session, user_id: uuid.UUID, *, organization_id: uuid.UUID
    ) -> None:
        """Refuse another key of a user who has enough; those of runs do not count.

        Raises:
            LimitReachedError: there are as many as there may be.
        """
        query = select(ApiKey.id).where(
            ApiKey.user_id == user_id,
            ApiKey.organization_id == organization_id,
            ApiKey.run_id.is_(None),
        )
        _require(session, query, self.keys, "API keys of one user in an organization")

    def require_room_for_organization(self, session: Session, user_id: uuid.UUID) -> None:
        """Refuse another organization of a user who has made enough.

        Raises:
            LimitReachedError: there are as many as there may be.
        """
        query = select(Organization.id).where(Organization.created_by == user_id)
        _require(session, query, self.organizations, "organizations that one user has made")

    def require_moderate_output(self, output: Any) -> None:
        """Refuse an output that is larger than a structure run may have.

        Raises:
            OutputTooLargeError: it is.
        """
        if (size := output_size(storable(output))) > self.output:
            raise OutputTooLargeError(too_large("The output", size, self.output))

    def require_room_for_external_run(self, session: Session, organization_id: uuid.UUID) -> None:
        """Refuse another external run of an organization that has enough under way.

        Raises:
            LimitReachedError: there are as many as there may be.
        """
        query = select(Run.id).where(
            Run.organization_id == organization_id, Run.is_external, Run.status.in_(ACTIVE)
        )
        _require(session, query, self.external_runs, "external runs of an organization that have not ended")

    def require_room_for_bytes(
        self, session: Session, organization_id: uuid.UUID, *, is_report: bool = False
    ) -> None:
        """Refuse runs and reports of an organization whose events and spans take up what they may.

        What a worker executes is not disturbed. The sum is remembered for `SUM_TTL`, by process.

        Args:
            is_report: of a run that is there already; it finds room for longer than a new run does.

        Raises:
            LimitReachedError: there are as many bytes as there may be.
        """
        counted_at, stored = _sums.get(organization_id, (float("-inf"), 0))
        if time.monotonic() - counted_at > SUM_TTL:
            query = select(func.coalesce(func.sum(Run.stored_bytes), 0))
            stored = int(session.scalar(query.where(Run.organization_id == organization_id)) or 0)
            if len(_sums) >= MOST_SUMS:
                _sums.clear()
            _sums[organization_id] = (time.monotonic(), stored)
        if stored >= self.stored_bytes * (REPORTS_ROOM if is_report else 1):
            raise LimitReachedError(
                f"The organization keeps {stored} bytes of events and spans, of {self.stored_bytes}:"
                " ask the operator."
            )


SUM_TTL: Final = 30.0  # seconds
REPORTS_ROOM: Final = 1.1  # times the limit for new runs, so that those under way can be told to their end
MOST_SUMS: Final = 10_000  # organizations

_sums: dict[uuid.UUID, tuple[float, int]] = {}
"""When the bytes of an organization were last summed, and to what: seconds of the monotonic clock, bytes."""


def _require(session: Session, query: Select[Any], limit: int, what: str) -> None:
    count = session.scalar(select(func.count()).select_from(query.limit(limit).subquery())) or 0
    if count >= limit:
        raise LimitReachedError(f"There may be {limit} {what}; end or delete some, or ask the operator.")

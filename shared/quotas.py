"""How many of some things one user or organization may have, so that nobody fills the tables for all."""

import uuid
from dataclasses import dataclass
from typing import Any, Self

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from shared.errors import LimitReachedError
from shared.models import ApiKey, Organization, Run
from shared.runs.lifecycle import ACTIVE
from shared.settings import Settings


@dataclass(frozen=True, slots=True)
class Quotas:
    """The limits of an installation. Counts, not locks: two who create at once may both find room."""

    keys: int  # of one user in one organization
    organizations: int  # that one user has made
    external_runs: int  # of one organization, that have not ended

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(settings.max_keys, settings.max_organizations, settings.max_external_runs)

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

    def require_room_for_external_run(self, session: Session, organization_id: uuid.UUID) -> None:
        """Refuse another external run of an organization that has enough under way.

        Raises:
            LimitReachedError: there are as many as there may be.
        """
        query = select(Run.id).where(
            Run.organization_id == organization_id, Run.is_external, Run.status.in_(ACTIVE)
        )
        _require(session, query, self.external_runs, "external runs of an organization that have not ended")


def _require(session: Session, query: Select[Any], limit: int, what: str) -> None:
    count = session.scalar(select(func.count()).select_from(query.limit(limit).subquery())) or 0
    if count >= limit:
        raise LimitReachedError(f"There may be {limit} {what}; end or delete some, or ask the operator.")

"""Quotas: how much one user or organization may have, so that nobody fills the tables for all."""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from threading import Lock
from typing import Any, Final, Self

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from shared.artifacts import output_size, too_large
from shared.errors import LimitReachedError, OutputTooLargeError, QueueFullError
from shared.events.text import storable
from shared.lifecycle import ACTIVE, HELD, RunStatus
from shared.models import (
    ApiKey,
    Assistant,
    Deployment,
    Message,
    Organization,
    Rule,
    Ruleset,
    Run,
    RunTally,
    Structure,
    Thread,
)
from shared.settings import Settings


class Resource(StrEnum):
    """A kind of resource, each with a limit of its own per organization; the words are for people."""

    ASSISTANT = "assistants"
    THREAD = "threads"
    MESSAGE = "messages"
    RULE = "rules"
    RULESET = "rulesets"
    STRUCTURE = "structures"
    DEPLOYMENT = "deployments"


@dataclass(frozen=True, slots=True)
class Quotas:
    """The limits of an installation. Counts, not locks: two who create at once may both find room."""

    keys: int  # of one user in one organization
    organizations: int  # that one user has made
    external_runs: int  # of one organization, that have not ended
    stored_bytes: int  # of runs, events and spans of one organization
    queued_runs: int  # of one organization
    resources: int  # of one kind, of one organization
    output: int  # bytes of what a structure run gives back, and of another event that it reports

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(
            settings.max_keys,
            settings.max_organizations,
            settings.max_external_runs,
            settings.max_stored_bytes,
            settings.max_queued_runs,
            settings.max_resources,
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

    def require_room_for_run(self, session: Session, organization_id: uuid.UUID) -> None:
        """Refuse another run of an organization that has enough in the queue, or stores what it may.

        Raises:
            QueueFullError: there are as many QUEUED runs as there may be.
            LimitReachedError: there are as many bytes as there may be.
        """
        queued = select(Run.id).where(Run.organization_id == organization_id, Run.status == RunStatus.QUEUED)
        if not _counts.has_room(session, queued, "queued", organization_id, limit=self.queued_runs):
            raise QueueFullError(f"There may be {self.queued_runs} QUEUED runs of an organization.")
        self.require_room_for_bytes(session, organization_id)

    def takes_known_room_for_run(self, organization_id: uuid.UUID) -> bool:
        """Whether there is room for another run by what is remembered, without a look at PostgreSQL.

        If there is, it is taken. If not, `require_room_for_run` has to find out.
        """
        counted_at, stored = _sums.get(organization_id, (float("-inf"), 0))
        if not _may_rely(("bytes", organization_id), counted_at, SUM_TTL) or stored >= self.stored_bytes:
            return False
        return _counts.takes_known_room("queued", organization_id, limit=self.queued_runs)

    def require_room_for(
        self, session: Session, resource: Resource, organization_id: uuid.UUID, *, more: int = 1
    ) -> None:
        """Refuse another assistant, thread or the like, or several, of an organization that has enough.

        Raises:
            LimitReachedError: there are as many as there may be.
        """
        query = _rows_of(resource, organization_id)
        if not _counts.has_room(session, query, resource, organization_id, limit=self.resources, more=more):
            raise LimitReachedError(_full(self.resources, f"{resource} of an organization"))

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
            stored = _bytes_of(session, organization_id)
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


class _Counts:
    """How many rows organizations have, counted now and then, and by this process's creates in between.

    So a create costs no count, and several processes at once may go beyond a limit by what the others
    create within `COUNT_TTL`. Where there is no room, it is counted each `RECOUNT`.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: dict[tuple[str, uuid.UUID], tuple[float, int]] = {}

    def has_room(
        self,
        session: Session,
        query: Select[Any],
        what: str,
        organization_id: uuid.UUID,
        *,
        limit: int,
        more: int = 1,
    ) -> bool:
        """Whether there is room for so many more; if there is, it is taken."""
        key = what, organization_id
        with self._lock:
            counted_at, count = self._known.get(key, (float("-inf"), 0))
            if time.monotonic() - counted_at <= (COUNT_TTL if count + more <= limit else RECOUNT):
                return self._take(key, counted_at, count, limit, more)
        fresh = _count(session, query, limit)
        with self._lock:
            return self._take(key, time.monotonic(), fresh, limit, more)

    def takes_known_room(self, what: str, organization_id: uuid.UUID, *, limit: int) -> bool:
        """Whether there is room for one more by a count that is fresh; if there is, it is taken."""
        key = what, organization_id
        with self._lock:
            counted_at, count = self._known.get(key, (float("-inf"), 0))
            return _may_rely(key, counted_at, COUNT_TTL) and self._take(key, counted_at, count, limit, 1)

    def _take(self, key: tuple[str, uuid.UUID], counted_at: float, count: int, limit: int, more: int) -> bool:
        if len(self._known) >= MOST_SUMS:
            self._known.clear()
        has_room = count + more <= limit
        self._known[key] = counted_at, count + more * has_room
        return has_room


def _may_rely(key: tuple[str, uuid.UUID], counted_at: float, ttl: float) -> bool:
    """Whether a number that was counted at some time counts for another create.

    Of the creates that find it too old, one counts anew; the others rely on it for `COUNT_PATIENCE` longer,
    rather than count all at once.
    """
    now = time.monotonic()
    age = now - counted_at
    if age <= ttl:
        return True
    if now - _renewals.get(key, float("-inf")) > COUNT_PATIENCE:
        if len(_renewals) >= MOST_SUMS:
            _renewals.clear()
        _renewals[key] = now
        return False
    return age <= ttl + COUNT_PATIENCE


COUNT_PATIENCE: Final = 1.0  # seconds
_renewals: dict[tuple[str, uuid.UUID], float] = {}
"""When the last create went to count anew: seconds of the monotonic clock."""

COUNT_TTL: Final = 5.0  # seconds
RECOUNT: Final = 1.0  # seconds

_counts = _Counts()

_MODELS: Final[Mapping[Resource, Any]] = {
    Resource.ASSISTANT: Assistant,
    Resource.THREAD: Thread,
    Resource.RULE: Rule,
    Resource.RULESET: Ruleset,
    Resource.STRUCTURE: Structure,
    Resource.DEPLOYMENT: Deployment,
}


def _bytes_of(session: Session, organization_id: uuid.UUID) -> int:
    """The bytes of all runs of an organization: of ended ones as tallied, of the few others as they are."""
    parts = (
        select(func.sum(RunTally.bytes)).where(RunTally.organization_id == organization_id),
        *(
            select(func.sum(Run.stored_bytes)).where(Run.organization_id == organization_id, is_so)
            for is_so in (Run.status == RunStatus.QUEUED, Run.status.in_(HELD))  # an index for each
        ),
    )
    # In one statement: a run that ends between two would be in neither sum.
    sums = session.execute(select(*(part.scalar_subquery() for part in parts))).one()
    return sum(int(one or 0) for one in sums)


def _rows_of(resource: Resource, organization_id: uuid.UUID) -> Select[Any]:
    """All rows of a kind; those that are marked as deleted are there, too."""
    if resource is Resource.MESSAGE:
        return select(Message.id).join(Thread).where(Thread.organization_id == organization_id)
    model = _MODELS[resource]
    return select(model.id).where(model.organization_id == organization_id)


def _count(session: Session, query: Select[Any], limit: int) -> int:
    """How many rows there are, up to a limit."""
    return session.scalar(select(func.count()).select_from(query.limit(limit).subquery())) or 0


def _require(session: Session, query: Select[Any], limit: int, what: str) -> None:
    if _count(session, query, limit) >= limit:
        raise LimitReachedError(_full(limit, what))


def _full(limit: int, what: str) -> str:
    return f"There may be {limit} {what}; end or delete some, or ask the operator."

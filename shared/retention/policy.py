"""Policies: for how long each organization keeps ended runs and idle threads."""

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Self

from sqlalchemy import ColumnElement, Interval, and_, case, func, literal, null
from sqlalchemy.orm import InstrumentedAttribute

from shared.models import Organization
from shared.settings import Settings

KEEP: Final = timedelta(0)
"""The retention of an organization that keeps everything, whatever the settings say."""

Own = InstrumentedAttribute[timedelta | None]


@dataclass(frozen=True, slots=True)
class Policy:
    """For how long ended runs and idle threads are kept; None keeps them for ever.

    By default an organization's own retention replaces it. An operator's order for all organizations never
    goes below their own retention; an order for one organization by name overrides it.
    """

    runs: timedelta | None
    threads: timedelta | None
    is_order: bool = False  # of an operator, by hand
    organization_id: uuid.UUID | None = None  # that the order is for; None: all

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(settings.retention_runs, settings.retention_threads)

    @property
    def concerned(self) -> ColumnElement[bool]:
        """Which organizations it is for, as SQL."""
        return (
            literal(value=True) if self.organization_id is None else Organization.id == self.organization_id
        )

    @property
    def runs_before(self) -> ColumnElement[Any]:
        """The instant before which a run of an organization has to have ended, as SQL; NULL keeps all."""
        return self._before(Organization.retention_runs, self.runs)

    @property
    def threads_before(self) -> ColumnElement[Any]:
        """The instant since which a thread of an organization has to be idle, as SQL; NULL keeps all."""
        return self._before(Organization.retention_threads, self.threads)

    def _before(self, own: Own, default: timedelta | None) -> ColumnElement[Any]:
        general: ColumnElement[Any] = null().cast(Interval) if default is None else literal(default, Interval)
        if self.organization_id is not None or (self.is_order and default is None):
            return func.now() - general
        if self.is_order:
            return func.now() - case((own == KEEP, None), else_=func.greatest(own, general))
        return func.now() - func.nullif(func.coalesce(own, general), literal(KEEP, Interval))


def concerns(policy: Policy, before: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether a policy deletes anything of an organization, as SQL."""
    return and_(policy.concerned, before.is_not(None))

"""A run's status in this dialect (design §6)."""

from collections.abc import Collection
from dataclasses import replace
from typing import Final, Literal

from shared.models import Run
from shared.runs.lifecycle import RunStatus
from shared.runs.lists import TOOK_TOO_LONG, RunFilter

STATUSES: Final = {
    RunStatus.QUEUED: "pending",
    RunStatus.STARTING: "pending",
    RunStatus.RUNNING: "running",
    RunStatus.SUCCEEDED: "completed",
    RunStatus.FAILED: "failed",
    RunStatus.ERROR: "failed",
    RunStatus.CANCELLED: "cancelled",
}

Status = Literal[
    "pending",
    "running",
    "completed",
    "async_wait",
    "async_completed",
    "failed",
    "cancelled",
    "requires_input",
    "expired",
]
"""All that this dialect has (contract: watsonx §2.1); some never occur here."""


EXPIRED: Final = TOOK_TOO_LONG
"""Reasons of an ERROR that this dialect calls expired."""


def status_of(run: Run) -> str:
    """A run's status, as one of the nine of this dialect."""
    if run.status is RunStatus.ERROR and (run.status_detail or {}).get("reason") in EXPIRED:
        return "expired"
    return STATUSES[run.status]


def narrowed(wanted: RunFilter, statuses: Collection[str]) -> RunFilter:
    """A filter that wants runs in one of some statuses of this dialect, too; all if none is named."""
    if not statuses:
        return wanted
    ours = {status for status, name in STATUSES.items() if name in statuses}
    has_failed, has_expired = "failed" in statuses, "expired" in statuses
    if has_expired:
        ours.add(RunStatus.ERROR)
    is_expired = None if has_failed is has_expired else has_expired
    return replace(wanted, statuses=frozenset(ours), is_expired=is_expired)

"""A run's status in this dialect."""

from typing import Final, Literal

from shared.lifecycle import RunStatus
from shared.models import Run
from shared.runs.lists import TOOK_TOO_LONG

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
"""All that this dialect has; some never occur here."""


EXPIRED: Final = TOOK_TOO_LONG
"""Reasons of an ERROR that this dialect calls expired."""


def status_of(run: Run) -> str:
    """A run's status, as one of the nine of this dialect."""
    if run.status is RunStatus.ERROR and (run.status_detail or {}).get("reason") in EXPIRED:
        return "expired"
    return STATUSES[run.status]

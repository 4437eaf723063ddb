"""A run's status in this dialect (design §6)."""

from typing import Final

from shared.models import Run
from shared.runs.lifecycle import Reason, RunStatus

STATUSES: Final = {
    RunStatus.QUEUED: "pending",
    RunStatus.STARTING: "pending",
    RunStatus.RUNNING: "running",
    RunStatus.SUCCEEDED: "completed",
    RunStatus.FAILED: "failed",
    RunStatus.ERROR: "failed",
    RunStatus.CANCELLED: "cancelled",
}

EXPIRED: Final = frozenset({Reason.EXPIRED, Reason.TIMED_OUT})
"""Reasons of an ERROR that this dialect calls expired."""


def status_of(run: Run) -> str:
    """A run's status, as one of the nine of this dialect."""
    if run.status is RunStatus.ERROR and (run.status_detail or {}).get("reason") in EXPIRED:
        return "expired"
    return STATUSES[run.status]

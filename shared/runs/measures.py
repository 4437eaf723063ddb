"""What a move of a run adds to the metrics, once it is committed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from shared.db import after_commit
from shared.lifecycle import Reason, RunKind, RunStatus, StoppedHow
from shared.metrics import definitions as metrics
from shared.metrics import instruments
from shared.models import Run
from shared.runs.together import MovedRun


def measure_accepted(session: Session, kind: RunKind, runs: int = 1) -> None:
    """Count new runs."""
    _after_commit(session, partial(metrics.RUNS_SUBMITTED.inc, kind, by=runs))


def measure_move(session: Session, run: Run, *, queue_of: Mapping[RunKind, str]) -> None:
    """Measure a run that has just been moved."""
    if instruments.is_on():
        for count in _counts_of(run, queue_of):  # made now: the row may change until the commit
            after_commit(session, count)


def measure_moves(
    session: Session, runs: Sequence[Run] | Sequence[MovedRun], *, queue_of: Mapping[RunKind, str]
) -> None:
    """Measure runs that have just been moved together."""

    def measure() -> None:
        for run in runs:
            for count in _counts_of(run, queue_of):
                count()

    _after_commit(session, measure)


def measure_stop(session: Session, how: StoppedHow, seconds: float) -> None:
    """Measure the stop of a cancelled run's work, `seconds` after the cancel."""
    _after_commit(session, partial(metrics.CANCEL_STOP.observe, seconds, how))


def _counts_of(run: Run | MovedRun, queue_of: Mapping[RunKind, str]) -> Iterator[Callable[[], object]]:
    """What a run's last move adds. An external run is in no queue."""
    kind = run.kind
    match run.status:
        case RunStatus.STARTING | RunStatus.RUNNING if run.is_external:
            return
        case RunStatus.STARTING:
            waited = _seconds(run.queued_at, run.updated_at)
            yield partial(metrics.QUEUE_WAIT.observe, waited, kind, queue_of[kind])
        case RunStatus.RUNNING:
            waited = _seconds(run.queued_at, run.started_at)
            yield partial(metrics.START_LATENCY.observe, waited, kind)
        case RunStatus.QUEUED:
            yield partial(metrics.RUNS_REQUEUED.inc, kind, _reason(run))
        case end:
            yield partial(metrics.RUNS_ENDED.inc, kind, end, _reason(run))
            if run.started_at is not None:
                lasted = _seconds(run.started_at, run.completed_at)
                yield partial(metrics.RUN_DURATION.observe, lasted, kind, end)
            if end is RunStatus.CANCELLED and not run.is_stopping and not run.is_external:
                yield partial(metrics.CANCEL_STOP.observe, 0.0, StoppedHow.NEVER_STARTED)


def _after_commit(session: Session, count: Callable[[], object]) -> None:
    if instruments.is_on():
        after_commit(session, count)


def _seconds(start: datetime | None, end: datetime | None) -> float:
    return 0.0 if start is None or end is None else (end - start).total_seconds()


def _reason(run: Run | MovedRun) -> str:
    detail: dict[str, Any] = run.status_detail or {}
    reason = str(detail.get("reason"))
    return Reason(reason) if reason in _REASONS else instruments.OTHER


_REASONS = frozenset(Reason)

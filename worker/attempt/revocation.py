"""A revoked Celery task cancels its run."""

import uuid
from typing import Final

import structlog
from sqlalchemy.orm import Session

from shared.dispatch.dispatcher import Dispatcher
from shared.errors import RunNotFoundError, TransitionRefusedError
from shared.runs import moves

REQUESTED_BY: Final = "an operator, through Celery"
"""The canceller of a run whose task was revoked in Flower or by `celery control`; Celery names nobody."""

log = structlog.get_logger(__name__)


def cancel_revoked(session: Session, dispatcher: Dispatcher, run_id: uuid.UUID, *, attempt: int) -> bool:
    """Cancel the run whose task for `attempt` was revoked, if the run waits for that attempt or is in it.

    No second revoke is sent. A run that has ended, or is at another attempt, stays as it is.

    Returns:
        Whether this call cancelled it.
    """
    try:
        moves.cancel(session, dispatcher, run_id, requested_by=REQUESTED_BY, attempt=attempt, revoke=False)
    except (TransitionRefusedError, RunNotFoundError) as refusal:
        log.info("revoked task cancels nothing", reason=str(refusal))
        return False
    log.info("run cancelled by a revoked task", requested_by=REQUESTED_BY)
    return True

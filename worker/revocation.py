"""What a revoked Celery task means for its run: it is cancelled."""

import uuid
from typing import Final

import structlog
from sqlalchemy.orm import Session

from shared.dispatch import Dispatcher
from shared.errors import RunNotFoundError, TransitionRefusedError
from shared.runs import transitions
from shared.runs.effects import follow
from shared.runs.lifecycle import Trigger

REQUESTED_BY: Final = "an operator, through Celery"
"""Who cancelled a run whose task was revoked in Flower or by `celery control`; Celery does not say."""

log = structlog.get_logger(__name__)


def cancel_revoked(session: Session, dispatcher: Dispatcher, run_id: uuid.UUID, *, attempt: int) -> bool:
    """Cancel the run whose task for `attempt` was revoked, if it waits for that attempt or is in it.

    It sends no revoke, which has been. A run that has ended, by the API's own cancel or otherwise,
    or that is at another attempt, stays as it is.

    Returns:
        Whether this call cancelled it.
    """
    try:
        applied = transitions.apply(
            session,
            run_id,
            Trigger.CANCEL,
            attempt=attempt,
            detail=transitions.cancel_detail(requested_by=REQUESTED_BY),
        )
    except (TransitionRefusedError, RunNotFoundError) as refusal:
        log.info("revoked task cancels nothing", reason=str(refusal))
        return False
    follow(session, dispatcher, applied)
    log.info("run cancelled by a revoked task", requested_by=REQUESTED_BY)
    return True

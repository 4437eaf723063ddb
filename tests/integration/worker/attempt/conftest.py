"""What may happen to a run while a worker holds it."""

import pytest
from sqlalchemy import update

from shared.db import unit_of_work
from shared.lifecycle import Reason, StatusDetail
from shared.models import Run
from shared.runs import moves

DETAIL = StatusDetail(Reason.INTERNAL_ERROR, "It broke.")


@pytest.fixture
def lose(committed_sessions, dispatcher):
    """Take a run away from its first attempt."""

    def lose(run, way):
        with unit_of_work(committed_sessions) as session:
            given = {"attempt": 1, "detail": DETAIL}
            match way:
                case "another attempt":
                    session.execute(update(Run).where(Run.id == run.id).values(attempt=2))
                case "requeued":
                    moves.requeue(session, dispatcher, run.id, **given)
                case "ended":
                    moves.fail(session, dispatcher, run.id, **given)
                case "cancelled":
                    moves.cancel(session, dispatcher, run.id, requested_by="me")

    return lose

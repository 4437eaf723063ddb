"""Attempts on the real database: a worker's resources, what is stored of a run, and how a run is lost."""

import pytest
from sqlalchemy import update

from shared.db import unit_of_work
from shared.events import log
from shared.lifecycle import Reason, StatusDetail
from shared.models import Run
from shared.runs import moves
from worker.attempt import resources as worker_resources
from worker.attempt.held_run import HeldRun
from worker.cancellation import CancelToken

DETAIL = StatusDetail(Reason.INTERNAL_ERROR, "It broke.")


@pytest.fixture
def resources(committed_settings):
    made = worker_resources.make(committed_settings)
    yield made
    made.close()


@pytest.fixture
def hold(resources):
    """Hold a run that is in its first attempt."""
    return lambda run: HeldRun(resources, run.id, 1, CancelToken())


@pytest.fixture
def reload(committed_sessions):
    """Read a run."""

    def reload(run):
        with committed_sessions() as session:
            return session.get_one(Run, run.id)

    return reload


@pytest.fixture
def events_of(committed_sessions):
    """Read the events of a run."""

    def events_of(run):
        with committed_sessions() as session:
            return log.read(session, run.id, start=0, limit=10_000, most=2**30).events

    return events_of


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

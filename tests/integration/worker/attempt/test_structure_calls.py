"""Structures called as tools, with no worker about but the caller's own: its slots may all be callers."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import select

from shared.db import unit_of_work
from shared.keys.principal import Principal
from shared.lifecycle import RunKind, RunStatus
from shared.models import Run
from shared.runs import moves, service
from shared.structures.reports import read_lines
from tests.support.checkout import STRUCTURES
from tests.support.slots import FakeSlot
from tests.support.waiting import wait_until
from worker.attempt import resources as worker_resources
from worker.attempt import structure_calls as calls
from worker.attempt.conclusion import Ending
from worker.attempt.execution import execute
from worker.cancellation import StopReason
from worker.executors.base import Succeeded


@pytest.fixture
def setting_overrides():
    return {
        "cancel_grace": timedelta(seconds=1),
        "heartbeat": timedelta(milliseconds=200),
        "structures_dir": STRUCTURES,
    }


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(calls, "STEAL_AFTER", 0.2)


def caller(context, _emit):
    """An executor that calls its run's structure with the run's arguments."""
    return Succeeded(context.structures[0].call(context.args))


@pytest.fixture
def call(resources, factories, make_assistant):
    """Begin a run that has a program executed; return the run, its slot and what waits for its ending."""
    threads = []

    def call(source, resources=resources):
        structure = factories.structure(code={"default": {"folder": "source"}})
        run = factories.run(assistant=make_assistant(structure_ids=[structure.id]), args=[source])
        slot, endings = FakeSlot(), []
        thread = threading.Thread(
            target=lambda: endings.append(execute(resources, run.id, 1, slot, resolve=lambda *_: caller))
        )
        thread.start()
        threads.append(thread)

        def join():
            thread.join(60)
            return endings[0]

        return run, slot, join

    yield call
    for thread in threads:
        thread.join(60)


@pytest.fixture
def called(committed_sessions):
    """The runs that a run has called."""

    def called(run):
        with unit_of_work(committed_sessions) as session:
            return session.scalars(select(Run).where(Run.parent_run_id == run.id)).all()

    return called


def test_a_call_that_nobody_takes_is_executed_by_its_callers_worker(call, called, reload):
    run, _, join = call("print('So it goes')")
    assert join() is Ending.SUCCEEDED
    (child,) = called(run)
    assert (child.status, child.attempt, child.log_count) == (RunStatus.SUCCEEDED, 1, 1)
    assert reload(run).output["value"] == "The structure ended without an output."


def test_one_that_is_executed_so_is_cancelled_with_its_caller(
    call, called, committed_sessions, dispatcher, reload
):
    run, _, join = call("print('word', flush=True); import time; time.sleep(60)")

    def lines():
        with unit_of_work(committed_sessions) as session:
            return [read_lines(session, child, offset=0, limit=9).lines for child in called(run)]

    wait_until(lambda: lines() == [["word"]], timeout=60, what="the program to speak")
    with unit_of_work(committed_sessions) as session:
        moves.cancel(session, dispatcher, run.id, requested_by="me")
    assert join() is Ending.CANCELLED
    (child,) = called(run)
    assert child.status is RunStatus.CANCELLED
    stopped = wait_until(
        lambda: reload(child).status_detail["stopped_how"], timeout=60, what="the program to be gone"
    )
    assert stopped == "cooperative"


@pytest.mark.parametrize("who", ["the call alone", "its caller"])
def test_a_cancel_of_such_a_call_does_not_wait_for_a_heartbeat(
    call, called, resources, committed_sessions, dispatcher, reload, who
):
    settings = resources.settings.model_copy(
        update={"heartbeat": timedelta(minutes=5), "lease_ttl": timedelta(minutes=20)}
    )
    patient = worker_resources.make(settings)
    try:
        run, slot, join = call("import time; time.sleep(60)", resources=patient)

        def running():
            return [child for child in called(run) if child.status is RunStatus.RUNNING]

        (child,) = wait_until(running, timeout=60, what="the program to run")
        with unit_of_work(committed_sessions) as session:
            moves.cancel(
                session, dispatcher, child.id if who == "the call alone" else run.id, requested_by="me"
            )
        if who == "its caller":
            slot.token.cancel(StopReason.CANCELLED)  # what a revoke does
        how = wait_until(lambda: reload(child).status_detail["stopped_how"], timeout=60, what="its end")
        assert how == "cooperative"
        # One goes on with an error for an answer, as its tool gave it.
        assert join() is (Ending.SUCCEEDED if who == "the call alone" else Ending.CANCELLED)
    finally:
        patient.close()


def test_structures_with_a_queue_of_their_own_are_left_to_its_workers(
    call, called, resources, committed_sessions, dispatcher
):
    settings = resources.settings.model_copy(update={"structure_queue": "structures"})
    apart = worker_resources.make(settings)
    try:
        run, slot, join = call("pass", resources=apart)
        (child,) = wait_until(lambda: called(run), timeout=60, what="the call")
        assert not slot.token.wait(1.0)  # five times as long as it would take
        assert called(run)[0].status is RunStatus.QUEUED
        with unit_of_work(committed_sessions) as session:
            moves.cancel(session, dispatcher, child.id, requested_by="me")
        assert join() is Ending.SUCCEEDED  # with an error for an answer, as its tool gave it
    finally:
        apart.close()


def test_a_call_whose_run_is_deleted_is_answered_with_an_error(
    call, called, resources, committed_sessions, dispatcher, reload
):
    settings = resources.settings.model_copy(update={"structure_queue": "structures"})
    apart = worker_resources.make(settings)
    try:
        run, _, join = call("pass", resources=apart)
        (child,) = wait_until(lambda: called(run), timeout=60, what="the call")
        owner = Principal(child.organization_id, child.created_by, child.id, "me")
        with unit_of_work(committed_sessions) as session:
            service.delete(session, dispatcher, owner, child.id, kind=RunKind.STRUCTURE)
        assert join() is Ending.SUCCEEDED
        assert reload(run).output["value"] == "The structure run was deleted."
    finally:
        apart.close()

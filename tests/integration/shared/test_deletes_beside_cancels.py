"""Runs that somebody deletes while what concerns several runs is about to cancel them."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.assistants.queries import get_assistant
from shared.db import unit_of_work
from shared.lifecycle import Reason, RunStatus, StatusDetail
from shared.models import Run
from shared.runs import moves, service
from tests.support.locks import waiting_for_locks
from tests.support.waiting import wait_until

DONE = StatusDetail(Reason.COMPLETED, "It is done.")
ANSWER = {"type": "TextArtifact", "value": "Hello"}


@pytest.fixture
def beside_delete(committed_sessions, dispatcher, factories):
    """Do work that comes to a run which is being deleted; return what it returns."""

    def beside_delete(work, run):
        with ThreadPoolExecutor(1) as workers:
            with unit_of_work(committed_sessions) as session:
                principal = factories.default_principal()
                service.delete(session, dispatcher, principal, run.id, kind=run.kind)
                session.flush()
                doing = workers.submit(work)
                wait_until(lambda: waiting_for_locks(committed_sessions), what="the work to come to the run")
            return doing.result()

    return beside_delete


def test_a_caller_ends_as_a_whole_while_its_call_is_deleted(
    beside_delete, committed_sessions, dispatcher, factories
):
    assistant = factories.assistant(structure_ids=[factories.structure().id])
    caller = factories.run(assistant=assistant, new_thread=True, status=RunStatus.RUNNING)
    following = factories.run(thread_id=caller.thread_id)
    call = factories.structure_run(parent_run_id=caller.id, status=RunStatus.RUNNING)
    dispatcher.enqueued.clear()

    def succeed():
        with unit_of_work(committed_sessions) as session:
            moves.succeed(
                session, dispatcher, caller.id, attempt=1, detail=DONE, output=ANSWER, prompt="Hello"
            )

    beside_delete(succeed, call)
    assert dispatcher.enqueued == [(following.id, 1)]
    with committed_sessions() as session:
        assert session.get_one(Run, caller.id).status is RunStatus.SUCCEEDED


def test_a_cancel_of_many_goes_on_after_one_that_is_deleted(
    beside_delete, committed_sessions, dispatcher, factories
):
    principal, assistant = factories.default_principal(), factories.assistant()
    first, second, third = (factories.run(assistant=assistant, status=RunStatus.RUNNING) for _ in range(3))

    def cancel():
        return service.cancel_many(
            committed_sessions, dispatcher, principal, assistant.id, get_subject=get_assistant
        )

    cancelled = beside_delete(cancel, second)
    assert set(cancelled.run_ids) == {first.id, third.id}

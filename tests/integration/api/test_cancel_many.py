"""Cancelling many runs of an assistant at once."""

import uuid

import pytest
from sqlalchemy import select

from shared.keys.principal import Principal
from shared.models import Run
from shared.runs import service
from shared.runs.lifecycle import ACTIVE, RunStatus


@pytest.fixture
def runs(make_assistant, make_run):
    """A run of one assistant in every status."""
    assistant = make_assistant()
    return {status: make_run(assistant=assistant, status=status) for status in RunStatus}


@pytest.fixture
def cancel(client, runs):
    """Cancel runs of that assistant."""

    def cancel(**body):
        assistant_id = runs[RunStatus.QUEUED].assistant_id
        return client.post(f"/api/assistants/{assistant_id}/runs/cancel", json=body or None)

    return cancel


@pytest.fixture
def statuses(sessions):
    """The present statuses of runs, by their ids."""

    def statuses():
        with sessions() as session:
            return {run.id: run for run in session.scalars(select(Run))}

    return statuses


def test_all_runs_that_have_not_ended_are_cancelled(cancel, runs, statuses, make_run, dispatcher):
    """Promise 5: each is as durable as a single cancel, and has its receipt."""
    other = make_run()
    answer = cancel()
    wanted = {str(runs[status].id) for status in ACTIVE}
    assert answer.status_code == 200
    assert (answer.json()["cancelled"], answer.json()["remaining"]) == (3, 0)
    assert set(answer.json()["assistant_run_ids"]) == wanted
    after = statuses()
    for status, run in runs.items():
        expected = RunStatus.CANCELLED if status in ACTIVE else status
        assert after[run.id].status is expected
    for status in ACTIVE:
        detail = after[runs[status].id].status_detail
        assert detail["reason"] == "Cancelled"
        assert detail["requested_at"]
    assert after[other.id].status is RunStatus.QUEUED
    assert {str(run_id) for run_id, _ in dispatcher.revoked} == wanted


def test_only_the_statuses_named_are_cancelled(cancel, runs, statuses):
    assert cancel(statuses=["QUEUED", "RUNNING"]).json()["cancelled"] == 2
    after = statuses()
    assert after[runs[RunStatus.STARTING].id].status is RunStatus.STARTING
    assert after[runs[RunStatus.RUNNING].id].status is RunStatus.CANCELLED
    assert cancel(statuses=[]).json()["cancelled"] == 0


def test_again_finds_nothing_left(cancel):
    cancel()
    assert cancel().json() == {"cancelled": 0, "remaining": 0, "assistant_run_ids": []}


@pytest.mark.parametrize("statuses", [["SUCCEEDED"], ["queued"], "QUEUED", [1]])
def test_a_status_that_cannot_be_cancelled_is_a_400(cancel, statuses):
    answer = cancel(statuses=statuses)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["path"].startswith("body.statuses")
    assert "RunStatus" not in answer.text


def test_an_unknown_assistant_is_a_404(client):
    assert client.post(f"/api/assistants/{uuid.uuid4()}/runs/cancel").status_code == 404


def test_a_call_is_bounded_and_says_what_remains(sessions, dispatcher, runs):
    run = runs[RunStatus.QUEUED]
    caller = Principal(run.organization_id, run.created_by, uuid.uuid4(), "somebody")
    done = service.cancel_many(sessions, dispatcher, caller, run.assistant_id, limit=2)
    assert (len(done.run_ids), done.remaining) == (2, 1)

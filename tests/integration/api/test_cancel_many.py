"""Cancelling many runs of an assistant, or of a structure, at once."""

import uuid

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from cli import main
from shared.assistants.queries import get_assistant
from shared.db import unit_of_work
from shared.keys.principal import Principal
from shared.lifecycle import ACTIVE, RunKind, RunStatus
from shared.models import Run
from shared.runs import service
from shared.structures.queries import get_structure

GET = {RunKind.ASSISTANT: get_assistant, RunKind.STRUCTURE: get_structure}


@pytest.fixture(params=RunKind)
def kind(request):
    return request.param


@pytest.fixture
def runs(factories, client, kind):
    """A run of one assistant, or of one structure, in every status."""
    del client  # whose principal the factories are to know
    if kind is RunKind.ASSISTANT:
        assistant = factories.assistant()
        return {status: factories.run(assistant=assistant, status=status) for status in RunStatus}
    structure = factories.structure()
    return {status: factories.structure_run(structure=structure, status=status) for status in RunStatus}


@pytest.fixture
def cancel(client, runs, kind):
    """Cancel runs of that one."""

    def cancel(**body):
        run = runs[RunStatus.QUEUED]
        path = f"/api/{kind}s/{run.assistant_id or run.structure_id}/runs/cancel"
        return client.post(path, json=body or None)

    return cancel


@pytest.fixture
def statuses(sessions):
    """The present statuses of runs, by their ids."""

    def statuses():
        with sessions() as session:
            return {run.id: run for run in session.scalars(select(Run))}

    return statuses


def test_all_runs_that_have_not_ended_are_cancelled(cancel, kind, runs, statuses, factories, dispatcher):
    """Promise 5: each is as durable as a single cancel, and has its receipt."""
    other = factories.run() if kind is RunKind.ASSISTANT else factories.structure_run()
    answer = cancel()
    wanted = {str(runs[status].id) for status in ACTIVE}
    assert answer.status_code == 200
    assert (answer.json()["cancelled"], answer.json()["remaining"]) == (3, 0)
    assert set(answer.json()[f"{kind}_run_ids"]) == wanted
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


def test_again_finds_nothing_left(cancel, kind):
    cancel()
    assert cancel().json() == {"cancelled": 0, "remaining": 0, f"{kind}_run_ids": []}


@pytest.mark.parametrize("statuses", [["SUCCEEDED"], ["queued"], "QUEUED", [1]])
def test_a_status_that_cannot_be_cancelled_is_a_400(cancel, statuses):
    answer = cancel(statuses=statuses)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["path"].startswith("body.statuses")
    assert "RunStatus" not in answer.text


def test_an_unknown_one_is_a_404(client, kind):
    assert client.post(f"/api/{kind}s/{uuid.uuid4()}/runs/cancel").status_code == 404


def test_one_of_the_other_kind_is_a_404(client, kind, runs):
    run, other = runs[RunStatus.QUEUED], next(each for each in RunKind if each is not kind)
    path = f"/api/{other}s/{run.assistant_id or run.structure_id}/runs/cancel"
    assert client.post(path).status_code == 404


def test_a_call_is_bounded_and_says_what_remains(sessions, dispatcher, kind, runs):
    run = runs[RunStatus.QUEUED]
    caller = Principal(run.organization_id, run.created_by, uuid.uuid4(), "somebody")
    subject_id = run.assistant_id or run.structure_id
    done = service.cancel_many(sessions, dispatcher, caller, subject_id, get_subject=GET[kind], limit=2)
    assert (len(done.run_ids), done.remaining) == (2, 1)


def test_the_command_cancels_also_what_outlived_its_assistant_or_its_structure(
    served, secret, factories, committed_sessions
):
    made = factories.run(), factories.structure_run(), factories.run()
    for path in (f"assistants/{made[0].assistant_id}", f"structures/{made[1].structure_id}"):
        assert served.client.delete(f"/api/{path}").is_success
    environment = {"RUNYARD_API_URL": str(served.client.base_url), "RUNYARD_API_KEY": secret}
    result = CliRunner(env=environment).invoke(main.app, ["cancel", "--all"])
    assert (result.exit_code, set(result.stdout.split())) == (0, {str(run.id) for run in made})
    with unit_of_work(committed_sessions) as session:
        assert set(session.scalars(select(Run.status))) == {RunStatus.CANCELLED}

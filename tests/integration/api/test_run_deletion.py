"""Deleting a run at any time, with what it called."""

import uuid

import pytest
from sqlalchemy import func, select

from shared.db import unit_of_work
from shared.errors import LeaseLostError
from shared.events import log
from shared.lifecycle import Origin, RunKind, RunStatus, StoppedHow
from shared.models import Message, Run, RunEvent, RunLogLine, RunMetadata, RunSpan, RunTally
from shared.runs import receipts

TABLES = (RunEvent, RunLogLine, RunSpan, RunMetadata)


@pytest.fixture
def make(client, factories):
    """Make a run of one kind, in a status; return it with its path."""
    del client  # whose principal the factories are to know

    def make(kind, **fields):
        run = factories.run(**fields) if kind is RunKind.ASSISTANT else factories.structure_run(**fields)
        return run, f"/api/{kind}-runs/{run.id}"

    return make


@pytest.fixture
def left_of(sessions):
    """What is left of a run in the tables that belong to it."""

    def left_of(run_id):
        with sessions() as session:
            counts = {
                table.__tablename__: session.scalar(
                    select(func.count()).select_from(table).where(table.run_id == run_id)
                )
                for table in TABLES
            }
            counts["runs"] = session.scalar(select(func.count()).select_from(Run).where(Run.id == run_id))
        return {name: count for name, count in counts.items() if count}

    return left_of


@pytest.mark.parametrize("status", RunStatus)
@pytest.mark.parametrize("kind", RunKind)
def test_a_run_of_any_status_is_gone(make, client, left_of, sessions, kind, status):
    run, path = make(kind, status=status, metadata={"ticket": "42"})
    with unit_of_work(sessions) as session:
        session.add(RunSpan(run_id=run.id, span_id="a", span={}))
        session.add(RunLogLine(run_id=run.id, seq=0, stream="stdout", text="a"))
    assert set(left_of(run.id)) == {"runs", *(table.__tablename__ for table in TABLES)}
    answer = client.delete(path)
    assert (answer.status_code, answer.content) == (204, b"")
    assert left_of(run.id) == {}
    assert client.get(path).status_code == 404
    assert client.delete(path).status_code == 404
    with sessions() as session:
        counted = session.scalar(select(func.coalesce(func.sum(RunTally.runs), 0)))
        assert counted == 0


@pytest.mark.parametrize("status", [RunStatus.QUEUED, RunStatus.STARTING, RunStatus.RUNNING])
def test_one_that_is_active_is_ended_and_stopped_first(make, client, dispatcher, status):
    run, path = make(RunKind.ASSISTANT, status=status)
    client.delete(path)
    assert dispatcher.announced[-1].run_id == run.id
    assert dispatcher.announced[-1].is_last
    assert dispatcher.announced[-1].payload["status"] == "CANCELLED"
    assert dispatcher.revoked == [(run.id, run.attempt or 1)]


def test_what_its_attempt_still_does_is_refused(make, client, sessions):
    run, path = make(RunKind.ASSISTANT, status=RunStatus.RUNNING)
    client.delete(path)
    event = log.NewEvent(origin=Origin.ASSISTANT, type="TextChunkEvent", payload={"token": "late"})
    with pytest.raises(LeaseLostError), unit_of_work(sessions) as session:
        log.append(session, run.id, [event], attempt=1)


def test_the_structure_runs_that_it_called_go_with_it(make, client, factories, left_of, dispatcher):
    run, path = make(RunKind.ASSISTANT, status=RunStatus.RUNNING)
    children = [
        factories.structure_run(parent_run_id=run.id, status=status)
        for status in (RunStatus.SUCCEEDED, RunStatus.RUNNING, RunStatus.QUEUED)
    ]
    other = factories.structure_run(status=RunStatus.RUNNING)
    assert client.delete(path).status_code == 204
    assert [left_of(child.id) for child in children] == [{}, {}, {}]
    assert left_of(other.id)
    assert {run_id for run_id, _ in dispatcher.revoked} == {run.id, children[1].id, children[2].id}


def test_one_that_was_called_goes_alone(make, client, factories, left_of):
    run, _ = make(RunKind.ASSISTANT, status=RunStatus.RUNNING)
    child = factories.structure_run(parent_run_id=run.id, status=RunStatus.RUNNING)
    assert client.delete(f"/api/structure-runs/{child.id}").status_code == 204
    assert left_of(child.id) == {}
    assert left_of(run.id)


def test_its_thread_goes_to_the_next_run_and_keeps_its_messages(client, make_assistant, sessions, dispatcher):
    thread = client.post("/api/threads", json={"name": "x"}).json()["thread_id"]
    runs = [
        client.post(f"/api/assistants/{make_assistant().id}/runs", json={"thread_id": thread}).json()
        for _ in range(2)
    ]
    first, second = (uuid.UUID(run["assistant_run_id"]) for run in runs)
    with unit_of_work(sessions) as session:
        session.add(
            Message(
                thread_id=uuid.UUID(thread),
                index=0,
                input="a",
                output="b",
                created_by=session.get_one(Run, first).created_by,
            )
        )
    dispatcher.enqueued.clear()
    assert client.delete(f"/api/assistant-runs/{first}").status_code == 204
    assert dispatcher.enqueued == [(second, 1)]
    assert len(client.get(f"/api/threads/{thread}/messages").json()["messages"]) == 1


@pytest.mark.parametrize("kind", RunKind)
def test_neither_strangers_nor_the_other_kinds_path_delete_it(make, client, as_stranger, left_of, kind):
    run, path = make(kind, status=RunStatus.RUNNING)
    other = RunKind.STRUCTURE if kind is RunKind.ASSISTANT else RunKind.ASSISTANT
    assert client.delete(path, headers=as_stranger).status_code == 404
    assert client.delete(f"/api/{other}-runs/{run.id}").status_code == 404
    assert left_of(run.id)["runs"] == 1


def test_the_key_of_a_repeated_request_finds_it_gone(client, make_assistant):
    path, headers = f"/api/assistants/{make_assistant().id}/runs", {"Idempotency-Key": "once"}
    made = client.post(path, json={}, headers=headers).json()["assistant_run_id"]
    client.delete(f"/api/assistant-runs/{made}")
    answer = client.post(path, json={}, headers=headers)
    assert answer.status_code == 409
    assert made not in client.get(path).text


def test_a_worker_that_reports_a_stop_finds_nothing_to_complete(make, client, sessions):
    run, path = make(RunKind.ASSISTANT, status=RunStatus.RUNNING)
    client.delete(path)
    with unit_of_work(sessions) as session:
        assert not receipts.record_stop(session, run.id, StoppedHow.COOPERATIVE, attempt=1)

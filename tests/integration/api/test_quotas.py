"""No organization fills queue or tables for all."""

import pytest
from sqlalchemy import text, update
from sqlalchemy.orm import Session

from shared.db import unit_of_work
from shared.lifecycle import RunKind, RunStatus
from shared.models import RUNS, Run
from shared.organizations import quotas
from shared.runs import moves
from tests.support.dispatching import RecordingDispatcher
from tests.support.listening import listen

LIMITED = pytest.mark.parametrize(
    "setting_overrides", [{"max_queued_runs": 2, "max_resources": 2, "max_keys": 5}]
)


@pytest.fixture(autouse=True)
def counted_each_time(monkeypatch):
    monkeypatch.setattr(quotas, "COUNT_TTL", -1.0)
    monkeypatch.setattr(quotas, "RECOUNT", -1.0)


@LIMITED
@pytest.mark.parametrize("kind", ["assistant", "structure", "webhook", "orchestrate", "watsonx assistant"])
def test_a_full_queue_refuses_every_kind_of_run(client, factories, make_assistant, dispatcher, kind):
    assistant, structure = make_assistant(), factories.structure(webhook_enabled=True)
    path, body = {
        "assistant": (f"assistants/{assistant.id}/runs", {"input": "Hi"}),
        "structure": (f"structures/{structure.id}/runs", {}),
        "webhook": (f"structures/{structure.id}/webhook", {}),
        "orchestrate": ("v1/orchestrate/runs", {"agent_id": str(assistant.id)}),
        "watsonx assistant": (f"v1/assistants/{assistant.id}/runs", {}),
    }[kind]
    answers = [client.post(f"/api/{path}", json=body) for _ in range(3)]
    assert [answer.status_code for answer in answers[:2]] != [429, 429]
    assert answers[2].status_code == 429
    assert int(answers[2].headers["Retry-After"]) > 0
    said = answers[2].json()
    assert "detail" in said if "v1" in path else said["errors"][0]["type"] == "QueueFull"

    (run_id, _), *_ = dispatcher.enqueued
    runs = "structure-runs" if dispatcher.kinds[run_id] is RunKind.STRUCTURE else "assistant-runs"
    assert client.post(f"/api/{runs}/{run_id}/cancel").status_code == 200
    assert client.post(f"/api/{path}", json=body).status_code != 429


@LIMITED
def test_a_request_that_is_sent_again_is_answered_although_the_queue_is_full(client, make_assistant):
    path = f"/api/assistants/{make_assistant().id}/runs"
    first = client.post(path, json={}, headers={"Idempotency-Key": "once"})
    assert client.post(path, json={}).status_code == 201
    assert client.post(path, json={}).status_code == 429
    again = client.post(path, json={}, headers={"Idempotency-Key": "once"})
    assert (again.status_code, again.json()["assistant_run_id"]) == (201, first.json()["assistant_run_id"])


@LIMITED
def test_a_full_queue_is_its_organizations_alone(client, as_stranger, make_assistant):
    path = f"/api/assistants/{make_assistant().id}/runs"
    assert [client.post(path, json={}).status_code for _ in range(3)] == [201, 201, 429]
    theirs = client.post("/api/assistants", json={"name": "theirs"}, headers=as_stranger).json()
    answer = client.post(f"/api/assistants/{theirs['assistant_id']}/runs", json={}, headers=as_stranger)
    assert answer.status_code == 201


@LIMITED
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("assistants", {"name": "x"}),
        ("threads", {"name": "x"}),
        ("rules", {"name": "x", "rule": "Be brief."}),
        ("rulesets", {"name": "x", "rule_ids": []}),
        ("structures", {"name": "x"}),
        ("v1/orchestrate/threads", {}),
    ],
)
def test_there_is_a_last_one_of_everything(client, path, body):
    answers = [client.post(f"/api/{path}", json=body) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201, 201, 409]
    said = answers[-1].json()
    assert "detail" in said if "v1" in path else said["errors"][0]["type"] == "LimitReached"


@LIMITED
def test_deployments_are_counted_however_they_are_made(client):
    structure = client.post("/api/structures", json={"name": "x"}).json()
    path = f"/api/structures/{structure['structure_id']}"
    assert client.post(f"{path}/deployments").status_code == 202
    assert client.post(f"{path}/deployments").status_code == 409
    assert client.patch(path, json={"code": structure["code"]}).status_code == 409
    assert client.post("/api/structures", json={"name": "y"}).status_code == 409
    assert client.patch(path, json={"name": "z"}).status_code == 200


@LIMITED
def test_messages_are_counted_over_all_threads(client):
    message = {"input": "Hi", "output": "Hello"}
    first = client.post("/api/threads", json={"name": "x", "messages": [message]}).json()
    path = f"/api/threads/{first['thread_id']}"
    second = client.post("/api/threads", json={"name": "y"}).json()
    assert client.post(f"/api/threads/{second['thread_id']}/messages", json=message).status_code == 201
    assert client.post(f"{path}/messages", json=message).status_code == 409
    assert client.patch(path, json={"messages": [message, message]}).status_code == 409
    posted = client.post(
        f"/api/v1/orchestrate/threads/{first['thread_id']}/messages", json={"role": "user", "content": "Hi"}
    )
    assert posted.status_code == 409


@LIMITED
def test_between_two_counts_creates_are_added_without_a_look(client, make_assistant, monkeypatch):
    """What others do in between is seen at the next count."""
    monkeypatch.setattr(quotas, "COUNT_TTL", 1000.0)
    monkeypatch.setattr(quotas, "RECOUNT", 1000.0)
    path = f"/api/assistants/{make_assistant().id}/runs"
    made = [client.post(path, json={}) for _ in range(3)]
    assert [answer.status_code for answer in made] == [201, 201, 429]
    client.post(f"/api/assistant-runs/{made[0].json()['assistant_run_id']}/cancel")
    assert client.post(path, json={}).status_code == 429
    monkeypatch.setattr(quotas, "RECOUNT", -1.0)
    assert client.post(path, json={}).status_code == 201


@pytest.mark.parametrize("setting_overrides", [{"max_stored_bytes": 5_000}])
@pytest.mark.parametrize("kind", ["assistant", "structure", "webhook"])
def test_what_runs_are_asked_for_counts_as_stored(client, factories, make_assistant, monkeypatch, kind):
    monkeypatch.setattr(quotas, "SUM_TTL", -1.0)
    structure = factories.structure(webhook_enabled=True)
    path, body = {
        "assistant": (f"assistants/{make_assistant().id}/runs", {"input": "x" * 5_000}),
        "structure": (f"structures/{structure.id}/runs", {"args": ["x" * 5_000]}),
        "webhook": (f"structures/{structure.id}/webhook", {"text": "x" * 5_000}),
    }[kind]
    assert client.post(f"/api/{path}", json=body).status_code < 300
    assert client.post(f"/api/{path}", json=body).status_code == 409


def test_the_bytes_of_many_runs_are_summed_without_a_look_at_each(committed_engine, factories, monkeypatch):
    run = factories.run(status=RunStatus.SUCCEEDED)
    names = [column.name for column in RUNS.columns if column.name != "id" and column.computed is None]
    many = f"""
        INSERT INTO runs (id, {", ".join(names)})
            SELECT gen_random_uuid(), {", ".join(names)} FROM runs, generate_series(1, 20000)
    """
    said = []
    with committed_engine.begin() as connection:
        connection.execute(text(many))
        connection.execute(text("ANALYZE runs"))
    queued, held = factories.run(), factories.run(status=RunStatus.RUNNING)
    listen(committed_engine, "before_cursor_execute", lambda *given: said.append(given[2:4]))
    with Session(committed_engine) as session:
        stored = quotas._bytes_of(session, run.organization_id)
    assert stored == 20_001 * run.stored_bytes + queued.stored_bytes + held.stored_bytes
    with committed_engine.begin() as connection:
        plans = [
            line
            for statement, parameters in tuple(said)
            for line in connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars()
        ]
    assert len([line for line in plans if line.strip(" ->").startswith("Aggregate")]) == 3
    assert [line for line in plans if "Seq Scan on runs" in line] == []


def test_the_bytes_of_a_run_that_ends_while_they_are_summed_are_counted(
    committed_engine, committed_sessions, factories
):
    run = factories.run(status=RunStatus.RUNNING)
    with unit_of_work(committed_sessions) as session:
        session.execute(update(Run).where(Run.id == run.id).values(stored_bytes=100))
    ending = iter([run.id])

    def end(*_):
        for run_id in ending:
            with unit_of_work(committed_sessions) as other:
                moves.cancel(other, RecordingDispatcher(), run_id, requested_by="ada")

    with committed_sessions() as session:
        session.connection()
        listen(committed_engine, "after_cursor_execute", end)
        assert quotas._bytes_of(session, run.organization_id) == 100

"""Structure runs: create, list, cancel, external ones, events and spans."""

import time
import uuid

import pytest

from shared.lifecycle import RunKind, RunStatus
from shared.structures.service import HIDDEN


def finish(value="done", *, kind="TextArtifact", identifier=None):
    return {
        "type": "FinishStructureRunEvent",
        "timestamp": time.time(),
        "payload": {
            "type": "FinishStructureRunEvent",
            "id": identifier or uuid.uuid4().hex,
            "output_task_output": {"type": kind, "value": value},
        },
    }


@pytest.fixture
def structure_id(client):
    return client.post("/api/structures", json={"name": "mine"}).json()["structure_id"]


@pytest.fixture
def create(client, structure_id):
    def create(**fields):
        answer = client.post(f"/api/structures/{structure_id}/runs", json=fields)
        assert answer.status_code == 201, answer.text
        return answer.json()

    return create


@pytest.fixture
def external(create):
    return create(execution="external")["structure_run_id"]


@pytest.fixture
def read(client):
    return lambda run_id: client.get(f"/api/structure-runs/{run_id}").json()


@pytest.fixture
def events(client):
    def events(run_id):
        return client.get(f"/api/structure-runs/{run_id}/events").json()["events"]

    return events


@pytest.fixture
def post(client):
    return lambda run_id, body: client.post(f"/api/structure-runs/{run_id}/events", json=body)


def types(events):
    return [event["type"] for event in events]


def test_a_run_is_queued_with_what_it_was_given(create, read, dispatcher):
    run = create(args=["a", 1, {"b": 2}], env_vars=[{"name": "A", "value": "1"}], env={"B": "2"})
    assert run["status"] == "QUEUED"
    assert run["args"] == ["a", "1", '{"b":2}']
    assert {one["name"]: one["value"] for one in run["env_vars"]} == {"A": HIDDEN, "B": HIDDEN}
    assert run["execution"] == "managed"
    assert run["started_at"] is run["completed_at"] is None
    assert run["deployment_id"]
    assert read(run["structure_run_id"]) == run
    assert [(str(run_id), kind) for run_id, kind in dispatcher.kinds.items()] == [
        (run["structure_run_id"], RunKind.STRUCTURE)
    ]


def test_runs_are_listed_by_status(client, structure_id, create):
    queued, cancelled = create()["structure_run_id"], create()["structure_run_id"]
    client.post(f"/api/structure-runs/{cancelled}/cancel")
    url = f"/api/structures/{structure_id}/runs"
    listed = client.get(url).json()
    assert {run["structure_run_id"] for run in listed["structure_runs"]} == {cancelled, queued}
    assert listed["pagination"]["total_count"] == 2
    (only,) = client.get(url, params={"status": "CANCELLED"}).json()["structure_runs"]
    assert only["structure_run_id"] == cancelled


def test_one_key_makes_one_run(client, structure_id):
    url, headers = f"/api/structures/{structure_id}/runs", {"Idempotency-Key": uuid.uuid4().hex}
    answers = [client.post(url, json={"args": ["x"]}, headers=headers).json() for _ in range(2)]
    assert answers[0]["structure_run_id"] == answers[1]["structure_run_id"]


def test_the_two_kinds_of_run_are_not_taken_for_each_other(client, create, factories):
    structure_run = create()["structure_run_id"]
    assistant_run = factories.run(factories.default_principal()).id
    assert client.get(f"/api/assistant-runs/{structure_run}").status_code == 404
    assert client.post(f"/api/assistant-runs/{structure_run}/cancel").status_code == 404
    assert client.get(f"/api/assistant-runs/{structure_run}/events").status_code == 404
    assert client.get(f"/api/structure-runs/{assistant_run}").status_code == 404
    assert client.post(f"/api/structure-runs/{assistant_run}/cancel").status_code == 404
    assert client.get(f"/api/structure-runs/{assistant_run}/events").status_code == 404


def test_a_cancelled_run_says_so_to_clients_that_wait_for_an_error(client, create, events):
    run_id = create()["structure_run_id"]
    run = client.post(f"/api/structure-runs/{run_id}/cancel").json()
    assert run["status"] == "CANCELLED"
    assert run["status_detail"]["stopped_how"] == "never_started"
    said = events(run_id)
    assert types(said) == ["StructureRunQueued", "StructureRunError", "StructureRunCompleted"]
    assert "cancelled" in said[1]["payload"]["status_detail"]["error"]
    assert all(event["structure_run_id"] == run_id for event in said)


def test_one_event_is_read_with_both_ids(client, external, events):
    event = events(external)[0]
    read = client.get(f"/api/events/{event['event_id']}").json()
    assert read == event | {"assistant_run_id": None}


@pytest.mark.parametrize(
    "form", [lambda items: {"events": items}, list, lambda items: items[0]], ids=["batch", "list", "one"]
)
def test_events_are_taken_in_every_form_that_clients_send(external, events, post, form):
    item = {"type": "Mine", "timestamp": 5, "payload": {"type": "Mine", "id": "1", "n": 1}}
    answer = post(external, form([item]))
    assert (answer.status_code, answer.content) == (202, b"")
    last = events(external)[-1]
    assert (last["origin"], last["type"], last["timestamp"]) == ("USER", "Mine", 5.0)
    assert last["payload"] == item["payload"]


def test_what_is_sent_again_counts_once(external, events, post):
    first = [{"type": "A", "timestamp": 1.5, "payload": {"id": str(n)}} for n in range(3)]
    post(external, first)
    post(external, [*first, {"type": "A", "timestamp": 1.5, "payload": {"id": "3"}}])
    assert [event["payload"]["id"] for event in events(external) if event["type"] == "A"] == list("0123")


def test_what_is_twice_in_a_batch_keeps_its_first_place(external, events, post):
    a, b = ({"type": "A", "timestamp": 1.5, "payload": {"id": name}} for name in "ab")
    post(external, [a, b, a | {"timestamp": 2}])
    said = [(event["payload"]["id"], event["timestamp"]) for event in events(external)[3:]]
    assert said == [("a", 1.5), ("b", 1.5)]


def test_events_without_an_id_are_all_kept(external, events, post):
    for _ in range(2):
        post(external, {"type": "A", "timestamp": 1, "payload": None})
    assert [event["payload"] for event in events(external) if event["type"] == "A"] == [{}, {}]


@pytest.mark.parametrize(
    "timestamp", [0, -1.5, 1.7e12, 1_700_000_000_000_000_000, 5e-324, 1.7976931348623157e308]
)
def test_a_timestamp_is_any_number_and_read_back_as_it_was(external, events, read, post, timestamp):
    """Some clients count milliseconds, or from another day than others."""
    item = finish() | {"timestamp": timestamp}
    assert post(external, item).status_code == 202
    said = [event["timestamp"] for event in events(external) if event["origin"] == "USER"]
    assert (said, read(external)["output_timestamp"]) == ([timestamp], timestamp)


@pytest.mark.parametrize(
    "timestamp", ["1e400", "-1e400", "NaN", "Infinity", '"1"', "true", "null", "9" * 400]
)
def test_what_is_no_number_is_no_timestamp(client, external, timestamp):
    body = f'{{"type": "A", "timestamp": {timestamp}}}'
    answer = client.post(f"/api/structure-runs/{external}/events", content=body)
    assert answer.status_code == 400


def test_a_payload_that_is_no_object_becomes_one(external, events, post):
    """Clients read keys of every payload."""
    post(external, {"type": "A", "timestamp": 1, "payload": "text"})
    assert events(external)[-1]["payload"] == {"value": "text"}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"events": {}},
        {"events": [{}]},
        [{"type": "A"}],
        [{"type": "", "timestamp": 1}],
        [{"type": "A", "timestamp": "now"}],
        {"type": "A" * 201, "timestamp": 1},
        "events",
        7,
        None,
    ],
)
def test_other_bodies_are_refused_and_nothing_is_stored(external, events, post, body):
    before = events(external)
    assert post(external, body).status_code == 400
    assert events(external) == before


def test_an_external_run_is_running_and_no_worker_has_it(read, external, events, dispatcher):
    run = read(external)
    assert (run["status"], run["execution"]) == ("RUNNING", "external")
    assert run["started_at"]
    assert types(events(external)) == ["StructureRunQueued", "StructureRunStarting", "StructureRunRunning"]
    assert dispatcher.enqueued == []


def test_the_finish_event_ends_an_external_run(read, external, events, post):
    item = finish({"any": "thing"}, kind="JsonArtifact")
    assert post(external, item).status_code == 202
    run = read(external)
    assert run["status"] == "SUCCEEDED"
    assert run["output"] == {"type": "JsonArtifact", "value": {"any": "thing"}}
    assert run["output_timestamp"] == pytest.approx(item["timestamp"])
    assert types(events(external))[-2:] == ["FinishStructureRunEvent", "StructureRunCompleted"]
    assert post(external, item).status_code == 202  # a retry of what is stored
    assert post(external, finish()).status_code == 409


def test_an_error_as_the_answer_fails_an_external_run(read, external, events, post):
    post(external, finish("it broke", kind="ErrorArtifact"))
    run = read(external)
    assert (run["status"], run["status_detail"]["message"]) == ("FAILED", "it broke")
    assert types(events(external))[-2:] == ["StructureRunError", "StructureRunCompleted"]


def test_an_external_run_is_completed_by_its_caller(client, external, events):
    body = {"status": "FAILED", "message": "no power", "exit_code": 3}
    run = client.post(f"/api/structure-runs/{external}/complete", json=body).json()
    assert run["status"] == "FAILED"
    assert run["status_detail"] == {"reason": "StructureFailed", "message": "no power", "exit_code": 3}
    completed = events(external)[-1]["payload"]
    assert (completed["status"], completed["status_detail"]["exit_code"]) == ("FAILED", 3)
    again = client.post(f"/api/structure-runs/{external}/complete", json={"output": "late"})
    assert (again.status_code, again.json()["status"]) == (200, "FAILED")


def test_a_completion_may_bring_the_output(client, external):
    run = client.post(f"/api/structure-runs/{external}/complete", json={"output": "yes"}).json()
    assert (run["status"], run["output"]["value"]) == ("SUCCEEDED", "yes")


def test_a_wrong_status_is_answered_with_the_right_ones(client, external):
    answer = client.post(f"/api/structure-runs/{external}/complete", json={"status": "DONE"})
    assert answer.status_code == 400
    assert [error["message"] for error in answer.json()["errors"]] == [
        "Input should be 'SUCCEEDED' or 'FAILED'"
    ]


def test_a_run_that_a_worker_has_is_not_completed_by_its_caller(client, create):
    run_id = create()["structure_run_id"]
    assert client.post(f"/api/structure-runs/{run_id}/complete", json={}).status_code == 409


def test_a_cancelled_external_run_takes_nothing_more(client, external, read, events, post):
    run = client.post(f"/api/structure-runs/{external}/cancel").json()
    assert run["status"] == "CANCELLED"
    assert run["status_detail"]["stopped_how"] == "external"
    before = events(external)
    assert post(external, finish()).status_code == 409
    assert client.post(f"/api/structure-runs/{external}/spans", json=[span()]).status_code == 409
    assert events(external) == before
    assert read(external)["status"] == "CANCELLED"


def test_a_queued_run_takes_no_events(create, post):
    assert post(create()["structure_run_id"], finish()).status_code == 409


def test_the_last_finish_event_is_the_output_of_a_managed_run(client, factories, read, post):
    run_id = str(factories.structure_run(status=RunStatus.RUNNING).id)
    post(run_id, [finish("first"), finish("second")])
    run = read(run_id)
    assert (run["status"], run["output"]["value"]) == ("RUNNING", "second")


def span(span_id="s1", **fields):
    return {
        "trace_id": "t1",
        "span_id": span_id,
        "parent_id": None,
        "name": "agent",
        "start_time": "2026-11-24T12:00:00.5Z",
        "end_time": None,
        "status": "OK",
        "attributes": {"a": 1},
        "events": [{"name": "e", "timestamp": "2026-11-24T12:00:00Z", "attributes": {}}],
        **fields,
    }


def test_spans_are_kept_once_each_and_in_order(client, external):
    url = f"/api/structure-runs/{external}/spans"
    assert client.post(url, json=[span("s1"), span("s2")]).status_code == 200
    assert client.post(url, json=[span("s2"), span("s3")]).status_code == 200
    spans = client.get(url).json()["spans"]
    assert [one["span_id"] for one in spans] == ["s1", "s2", "s3"]
    assert spans[0]["attributes"] == {"a": 1}
    page = client.get(url, params={"page_size": 2}).json()
    assert (len(page["spans"]), page["page"]) == (2, 2)


@pytest.mark.parametrize("body", [{}, [{}], [span(status="MAYBE")], [span(span_id="")], "x"])
def test_other_spans_are_refused(client, external, body):
    assert client.post(f"/api/structure-runs/{external}/spans", json=body).status_code == 400

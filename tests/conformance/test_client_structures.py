"""The generated client: structures, their deployments, their runs and what these report."""

import time

import pytest

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def structure(new):
    return new("structure", name="Tralfamadore", description="Of this test")


@pytest.fixture
def run(api, structure):
    body = api.body("create_structure_run", args=["Poo-tee-weet?"])
    return api.call("create_structure_run", structure.structure_id, body=body)


@pytest.fixture
def ended(api, run):
    deadline = time.monotonic() + 60
    while (read := api.call("get_structure_run", run.structure_run_id)).completed_at is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return read


def test_a_structure_is_typed(api, structure):
    assert isinstance(structure.code, api.models.StructureCodeType2)
    assert structure.env_vars == []
    read = api.call("get_structure", structure.structure_id)
    assert read.to_dict() == structure.to_dict()
    changed = api.call(
        "update_structure", structure.structure_id, body=api.body("update_structure", name="Ilium")
    )
    assert (changed.name, changed.description) == ("Ilium", "Of this test")
    listed = api.call("list_structures", page_size=5).structures
    assert structure.structure_id in [each.structure_id for each in listed]
    api.call("delete_structure", structure.structure_id)
    api.refused(404, "get_structure", structure.structure_id)


def test_deployments_are_typed(api, structure):
    """What a client does before it runs a structure: look for SUCCEEDED in its latest deployment."""
    latest = api.call("get_deployment", structure.latest_deployment_id)
    assert latest.status == api.models.DeploymentStatus.SUCCEEDED
    body = api.body("create_structure_deployment", force=True)
    made = api.call("create_structure_deployment", structure.structure_id, body=body)
    listed = api.call("list_structure_deployments", structure.structure_id).deployments
    assert made.deployment_id in [each.deployment_id for each in listed]


def test_a_run_is_typed_to_its_end(api, structure, run, ended):
    assert run.args == ["Poo-tee-weet?"]
    assert ended.status == api.models.StructureRunStatus.SUCCEEDED
    assert ended.output["value"] == "Poo-tee-weet?"
    assert ended.output_timestamp > 1_700_000_000
    (listed,) = api.call("list_structure_runs", structure.structure_id).structure_runs
    assert listed.to_dict() == ended.to_dict()
    again = api.call("cancel_structure_run", run.structure_run_id)
    assert again.status == api.models.StructureRunStatus.SUCCEEDED


def test_its_output_and_its_events_are_typed(api, run, ended):
    assert api.call("list_structure_run_logs", run.structure_run_id).logs == ["Poo-tee-weet?"]
    events = api.call("list_events", run.structure_run_id).events
    assert [each.type_ for each in events] == [
        "StructureRunQueued",
        "StructureRunStarting",
        "StructureRunRunning",
        "FinishStructureRunEvent",
        "StructureRunCompleted",
    ]
    assert {each.structure_run_id for each in events} == {run.structure_run_id}
    assert api.call("get_event", events[0].event_id).type_ == "StructureRunQueued"
    assert "StructureRunCompleted" in api.call_text("get_structure_run_events_sse", run.structure_run_id)


def test_a_webhook_answers_with_the_typed_structure(api, stack):
    body = api.body("create_structure", name="Tralfamadore", webhook_enabled=True)
    structure = api.call("create_structure", body=body)
    key, structure_id = stack.file["api_key"], structure.structure_id
    answers = [
        api.call("invoke_structure_webhook_get", structure_id, api_key=key),
        api.call("invoke_structure_webhook_post", structure_id, api_key=key),
    ]
    assert [answer.to_dict() for answer in answers] == [structure.to_dict()] * 2
    assert [run.args for run in api.call("list_structure_runs", structure_id).structure_runs] == [[], []]
    api.refused(401, "invoke_structure_webhook_post", structure_id, api_key="ry_wrong")


def test_events_are_posted(api, structure):
    body = api.body("create_structure_run", args=[], execution="external")
    run = api.call("create_structure_run", structure.structure_id, body=body)
    event = {"type": "Mine", "timestamp": 1.5, "payload": {"so": "it goes"}}
    posted = api.models.CreateEventsRequestContent.from_dict({"events": [event]})
    api.call("create_events", run.structure_run_id, body=posted)
    last = api.call("list_events", run.structure_run_id).events[-1]
    assert (last.type_, last.origin, last.payload) == ("Mine", "USER", {"so": "it goes"})
    api.call("cancel_structure_run", run.structure_run_id)


def test_of_spans_it_reads_only_that_there_are_none(api, stack, structure):
    """Its model wants one whole event where tracers send a list: no way to say that there is none suits."""
    body = api.body("create_structure_run", args=[], execution="external")
    run = api.call("create_structure_run", structure.structure_id, body=body)
    assert api.call("list_spans", run.structure_run_id).spans == []
    span = {"trace_id": "t", "span_id": "s", "name": "n", "status": "OK", "attributes": {}, "events": []}
    times = dict.fromkeys(("start_time", "end_time"), "2026-11-24T12:00:00Z")
    url = f"/api/structure-runs/{run.structure_run_id}/spans"
    assert stack.client.post(url, json=[span | times]).status_code == 200
    with pytest.raises(KeyError, match="attributes"):
        api.call("list_spans", run.structure_run_id)
    (given,) = stack.client.get(url).json()["spans"]
    without = {name: value for name, value in given.items() if name != "events"}
    for span in (without, *(without | {"events": none} for none in ([], {}, None))):
        with pytest.raises((KeyError, TypeError)):
            api.models.SpanDetail.from_dict(span)
    event = {"name": "e", "timestamp": times["end_time"], "attributes": {}}
    assert api.models.SpanDetail.from_dict(without | {"events": event}).events.name == "e"
    api.call("cancel_structure_run", run.structure_run_id)

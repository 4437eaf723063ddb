"""Runs that are executed elsewhere, on the whole stack."""

import pytest

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def begin(stack):
    """Begin an external run, and return where it is."""

    def begin(**fields):
        structure = stack.client.post("/api/structures", json={"name": "elsewhere"}).json()
        url = f"/api/structures/{structure['structure_id']}/runs"
        run = stack.client.post(url, json={"execution": "external", **fields}).json()
        return f"/api/structure-runs/{run['structure_run_id']}"

    return begin


@pytest.fixture
def post(stack):
    """Report an event of a run, and return the status of the answer."""

    def post(url, identifier, kind="Mine", **payload):
        event = {"type": kind, "timestamp": 1.5, "payload": {"id": identifier, **payload}}
        return stack.client.post(f"{url}/events", json=event).status_code

    return post


@pytest.fixture
def types(stack):
    def types(url):
        return [event["type"] for event in stack.client.get(f"{url}/events").json()["events"]]

    return types


def test_one_that_takes_too_long_is_ended_and_takes_nothing_new(stack, begin, post, types):
    url = begin(max_duration=1)
    assert post(url, "in time") == 202
    run = stack.client.get(url, params={"wait": 30}).json()
    assert (run["status"], run["status_detail"]["reason"]) == ("ERROR", "TimedOut")
    ended = types(url)
    assert ended[-3:] == ["Mine", "StructureRunError", "StructureRunCompleted"]
    assert post(url, "in time") == 202  # it was stored, and the answer may have been lost
    assert post(url, "late") == 409
    assert post(url, "late", "FinishStructureRunEvent", output_task_output={"type": "TextArtifact"}) == 409
    assert types(url) == ended
    assert stack.client.post(f"{url}/complete", json={"output": "late"}).json() == run


def test_one_that_has_said_its_last_word_hears_the_same_again(stack, begin, post, types):
    url = begin()
    answer = {"output_task_output": {"type": "TextArtifact", "value": "done"}}
    assert post(url, "last", "FinishStructureRunEvent", **answer) == 202
    assert stack.client.get(url).json()["status"] == "SUCCEEDED"
    ended = types(url)
    assert post(url, "last", "FinishStructureRunEvent", **answer) == 202
    assert post(url, "another", "FinishStructureRunEvent", **answer) == 409
    assert types(url) == ended

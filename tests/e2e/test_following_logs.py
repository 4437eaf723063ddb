"""One id in the logs of all processes follows a run from the request that made it to its end."""

import json

import pytest

from tests.support.stack import environment, running_stack
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    env = environment(RUNYARD_LOG_FORMAT="json")
    with running_stack(tmp_path_factory.mktemp("logs") / "stack", env=env) as running:
        yield running


def lines_of(stack, name="*"):
    """The lines of the processes' logs; servers of others have forms of their own."""
    found = []
    for path in sorted((stack.data_dir / "logs").glob(f"{name}.log")):
        found += [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    return found


def about(stack, run_id):
    return [line for line in lines_of(stack) if line.get("run_id") == run_id]


def post_assistant_run(stack):
    return stack.create_run(input="Hi")


def post_structure_run(stack):
    structure = stack.client.post("/api/structures", json={"name": "sample"}).json()["structure_id"]
    answer = stack.client.post(f"/api/structures/{structure}/runs", json={"args": ["Hi"]})
    return answer.json()["structure_run_id"]


def post_watsonx_run(stack):
    agent = stack.create_assistant()
    body = {"agent_id": agent, "message": {"role": "user", "content": "Hi"}}
    return stack.client.post("/api/v1/orchestrate/runs", json=body).json()["run_id"]


@pytest.mark.parametrize("post", [post_assistant_run, post_structure_run, post_watsonx_run])
def test_a_run_can_be_followed_from_its_post_to_its_end(stack, post):
    run_id = post(stack)

    def ended():
        lines = about(stack, run_id)
        return lines if any(line["event"] == "run attempt ended" for line in lines) else None

    lines = wait_until(ended, timeout=60, pause=0.2, what="the log to tell of its end")
    posts = [line for line in lines if line["event"] == "request" and line["method"] == "POST"]
    posted = next(line for line in posts if not line["path"].endswith("/events"))  # its own code posts those
    assert (posted["process"], posted["status"] // 100) == ("api", 2)
    told = [line["event"] for line in lines if line["process"] == "worker"]
    assert (told[0], told[-1]) == ("run claimed", "run attempt ended")
    assert all(line["attempt"] == 1 for line in lines if line["process"] == "worker")


def test_a_repeated_post_and_a_read_name_the_run_they_answer_with(stack):
    assistant = stack.create_assistant()
    headers = {"Idempotency-Key": "once"}
    made = [
        stack.client.post(f"/api/assistants/{assistant}/runs", json={"input": "Hi"}, headers=headers)
        for _ in range(2)
    ]
    (run_id,) = {answer.json()["assistant_run_id"] for answer in made}
    stack.run(run_id)

    def all_told():
        requests = [line["method"] for line in about(stack, run_id) if line["event"] == "request"]
        return requests == ["POST", "POST", "GET"]

    wait_until(all_told, timeout=10, what="the requests to be told")


def test_a_request_that_made_nothing_names_none(stack):
    assistant = stack.create_assistant()
    assert stack.client.post(f"/api/assistants/{assistant}/runs", json={"input": 7}).status_code >= 400
    path = f"/api/assistants/{assistant}/runs"
    wait_until(lambda: [line for line in lines_of(stack, "api") if line.get("path") == path], what="the line")
    assert not any("run_id" in line for line in lines_of(stack, "api") if line.get("path") == path)


def test_every_process_logs_in_the_common_form(stack):
    assert stack.flower("GET", "/api/workers?refresh=1").status_code == 200
    for name in ("api", "worker", "reconciler", "flower"):
        lines = lines_of(stack, name)
        assert lines, name
        for line in lines:
            assert {"event", "level", "logger", "timestamp", "process"} <= line.keys(), line
        assert {line["process"] for line in lines} <= {name, f"{name}-supervisor"}

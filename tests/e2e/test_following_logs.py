"""One id in the logs of all processes follows a run from the request that made it to its end."""

import json

import pytest

from tests.support.waiting import wait_until

pytestmark = [pytest.mark.full_length, pytest.mark.timeout(300)]

REFUSED = "run not claimed"  # a run that waits for long is sent again, and the second message comes too late


CONTENT = "planted-words-of-a-user"
WRONG_KEY = "ry_" + "planted" * 7


@pytest.fixture(scope="module")
def stack(telling_stack):
    return telling_stack


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

    def of_post(lines):
        posts = [line for line in lines if line["event"] == "request" and line["method"] == "POST"]
        return [line for line in posts if not line["path"].endswith("/events")]  # its own code posts those

    def told():  # the API writes of a request when its answer is out, at times after the end of the run
        lines = about(stack, run_id)
        has_ended = any(line["event"] == "run attempt ended" for line in lines)
        return lines if has_ended and of_post(lines) else None

    lines = wait_until(told, timeout=60, pause=0.2, what="the log to tell of its post and its end")
    (posted,) = of_post(lines)
    assert (posted["process"], posted["status"] // 100) == ("api", 2)
    own = [line for line in lines if line["logger"].startswith("worker.") and line["level"] != "debug"]
    own = [line for line in own if line["event"] != REFUSED]
    told = [line["event"] for line in own]
    assert (told[0], told[-1]) == ("run claimed", "run attempt ended")
    assert (own[-1]["ending"], own[-1]["reason"]) == ("succeeded", "Completed")
    assert all(line["attempt"] == 1 for line in lines if line["process"] == "worker")
    assert {line["organization_id"] for line in [posted, *own]} == {organization_of(stack)}
    assert len(posted["request_id"]) == 32


def organization_of(stack):
    (one,) = stack.client.get("/api/organizations").json()["organizations"]
    return one["organization_id"]


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

    wait_until(all_told, timeout=60, what="the requests to be told")


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


def test_the_id_of_a_caller_is_in_the_lines_of_its_request_and_in_the_answer(stack):
    answer = stack.client.get("/api/assistants", headers={"X-Request-ID": "one-of-ours:1"})
    assert answer.headers["x-request-id"] == "one-of-ours:1"

    def told():
        return [line for line in lines_of(stack, "api") if line.get("request_id") == "one-of-ours:1"]

    lines = wait_until(lambda: [line for line in told() if line["event"] == "request"], what="the line")
    assert lines[0]["organization_id"] == organization_of(stack)


def test_no_line_of_any_process_has_a_secret_or_what_a_user_wrote(stack, llm, model_key):
    """At the most talkative level that can be set, through every kind of run, failure and refusal."""
    client, seen = stack.client, len(llm.records.requests)
    runs = []
    for model in ("openai/repeat", "openai/status-500", "openai/garbage", "echo", "nobody/none"):
        assistant = stack.create_assistant(name=CONTENT, model=model)
        runs.append(stack.create_run(assistant, input=CONTENT, args=[CONTENT], metadata={"note": CONTENT}))
    structure = client.post("/api/structures", json={"name": "planted"}).json()["structure_id"]
    variables = [{"name": "PLANTED", "value": CONTENT, "source": "manual"}]
    body = {"args": [CONTENT], "env_vars": variables}
    runs.append(client.post(f"/api/structures/{structure}/runs", json=body).json()["structure_run_id"])
    message = {"role": "user", "content": CONTENT}
    agent = {"agent_id": stack.create_assistant(), "message": message}
    runs.append(client.post("/v1/orchestrate/runs", json=agent).json()["run_id"])
    posting = f"/api/assistants/{stack.create_assistant()}/runs"
    for refused in (
        client.post("/api/threads", content=f'{{"name": "{CONTENT}'),
        client.post("/api/threads", json={"name": [CONTENT]}),
        client.post("/api/threads", json={"name": f"{CONTENT}\0"}),
        client.get("/api/threads", params={"page": CONTENT}),
        client.get("/api/users", headers={"Authorization": f"Bearer {WRONG_KEY}"}),
        client.get(f"/api/{WRONG_KEY}"),
        client.post(posting, json={"input": CONTENT, "model": CONTENT}),
    ):
        assert refused.is_client_error or refused.is_success, refused.text

    def all_ended():
        ended = [line["run_id"] for line in lines_of(stack) if line["event"] == "run attempt ended"]
        return set(runs) <= set(ended)

    wait_until(all_ended, timeout=60, pause=0.5, what="the end of every run")
    assert any(CONTENT in json.dumps(request) for request in llm.records.requests[seen:])
    assert any(line["level"] == "debug" for line in lines_of(stack, "worker"))
    for planted in (CONTENT, model_key, WRONG_KEY, stack.file["api_key"]):
        assert not [line for line in lines_of(stack) if planted in json.dumps(line)]

"""What an operator lets callers ask for, over HTTP, in both dialects."""

import uuid
from datetime import timedelta

import pytest

from shared.terms import ModelRules, Terms


@pytest.fixture
def impose(anonymous, client):
    """Put the API under terms."""

    def impose(models="", **caps):
        anonymous.app.state.terms = Terms(ModelRules.parse(models), caps)

    return impose


@pytest.fixture
def assistant(client):
    made = client.post("/api/assistants", json={"name": "made before", "model": "openai/gpt-5"})
    return made.json()["assistant_id"]


@pytest.fixture
def structure(client):
    return client.post("/api/structures", json={"name": "x"}).json()["structure_id"]


def refused(answer, *, field):
    assert answer.status_code == 400, answer.text
    (error,) = answer.json()["errors"]
    assert field in str(error)
    return str(error)


def test_a_model_that_is_not_allowed_is_a_400_that_lists_what_is(client, impose, assistant) -> None:
    impose("ollama/*, echo")
    runs = f"/api/assistants/{assistant}/runs"

    for answer in (
        client.post("/api/assistants", json={"name": "x", "model": "openai/gpt-5"}),
        client.patch(f"/api/assistants/{assistant}", json={"model": "anthropic/claude"}),
        client.post(runs, json={"input": "Hi", "model": "openai/gpt-5"}),
        client.post(runs, json={"input": "Hi"}),  # the assistant's own
    ):
        assert "ollama/*, echo" in refused(answer, field="model")
    assert client.post(runs, json={"input": "Hi", "model": "ollama/llama3"}).status_code == 201
    assert client.patch(f"/api/assistants/{assistant}", json={"name": "y"}).status_code == 200
    assert client.patch(f"/api/assistants/{assistant}", json={"model": "echo"}).status_code == 200
    assert client.post(runs, json={"input": "Hi"}).status_code == 201


@pytest.mark.parametrize("prefix", ["/v1", "/api/v1"])
def test_an_agent_whose_model_is_not_allowed_is_refused_in_its_own_dialect(
    client, impose, assistant, prefix
) -> None:
    impose("ollama/*, echo")
    body = {"message": {"role": "user", "content": "Hi"}, "agent_id": assistant}

    for answer in (
        client.post(f"{prefix}/orchestrate/runs", json=body),
        client.post(f"{prefix}/orchestrate/runs/stream", json=body),
        client.post(f"{prefix}/assistants/{assistant}/runs", json=body),
    ):
        assert answer.status_code == 422, answer.text
        assert "ollama/*, echo" in str(answer.json()["detail"])


def test_an_organizations_own_patterns_bind_it_alone(client, impose, factories, as_stranger) -> None:
    own = factories.default_principal().organization_id
    impose(f"{own}=ollama/*; *=openai/*")
    wanted = {"name": "x", "model": "openai/gpt-5"}

    assert "ollama/*" in refused(client.post("/api/assistants", json=wanted), field="model")
    assert client.post("/api/assistants", json=wanted, headers=as_stranger).status_code == 201


def test_a_limit_above_its_cap_is_a_400_that_names_the_cap(client, impose, assistant, structure) -> None:
    impose(max_duration=timedelta(seconds=60), queue_ttl=timedelta(seconds=90), max_attempts=2)

    for name, allowed, asked in (("max_duration", 60, 60.1), ("queue_ttl", 90, 91), ("max_attempts", 2, 3)):
        for method, path, body in (
            ("POST", "/api/assistants", {"name": uuid.uuid4().hex}),
            ("PATCH", f"/api/assistants/{assistant}", {}),
            ("POST", f"/api/assistants/{assistant}/runs", {"input": "Hi"}),
            ("POST", "/api/structures", {"name": uuid.uuid4().hex}),
            ("PATCH", f"/api/structures/{structure}", {}),
            ("POST", f"/api/structures/{structure}/runs", {}),
        ):
            answer = client.request(method, path, json={**body, name: asked})
            assert f"RUNYARD_{name.upper()}_CAP" in refused(answer, field=name)
            assert client.request(method, path, json={**body, name: allowed}).status_code in {200, 201}


def test_a_limit_that_was_stored_before_its_cap_is_lowered_to_it(client, impose) -> None:
    made = client.post("/api/assistants", json={"name": "x", "max_duration": 3_600}).json()["assistant_id"]
    impose(max_duration=timedelta(seconds=60))

    run = client.post(f"/api/assistants/{made}/runs", json={"input": "Hi"}).json()

    assert run["max_duration"] == 60


def test_a_day_and_a_week_may_be_asked_for_by_default(client, assistant) -> None:
    for limits in ({"max_duration": 604_800}, {"queue_ttl": 2_592_000}, {"max_attempts": 100}):
        answer = client.post(f"/api/assistants/{assistant}/runs", json={"input": "Hi", **limits})
        assert answer.status_code == 201
    answer = client.post(f"/api/assistants/{assistant}/runs", json={"max_duration": 604_801})
    refused(answer, field="max_duration")

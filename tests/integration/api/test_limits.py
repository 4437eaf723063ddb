"""Limits of runs and assistants over HTTP."""

import pytest

LIMITS = {"max_duration": 90.5, "queue_ttl": 60, "max_attempts": 2}


def limits_of(resource):
    return {name: resource[name] for name in LIMITS if name in resource}


@pytest.fixture
def create_assistant(client):
    def create(**fields):
        return client.post("/api/assistants", json={"name": "x", **fields})

    return create


@pytest.fixture
def limits_of_run(client):
    """POST a run of an assistant; return the limits that it shows."""

    def post(assistant, **fields):
        answer = client.post(f"/api/assistants/{assistant['assistant_id']}/runs", json=fields)
        assert answer.status_code == 201
        run_id = answer.json()["assistant_run_id"]
        assert client.get(f"/api/assistant-runs/{run_id}").json() == answer.json()
        return limits_of(answer.json())

    return post


def test_a_run_keeps_its_own_limits(create_run):
    assert limits_of(create_run(**LIMITS).json()) == LIMITS


def test_a_run_without_limits_shows_none(create_run):
    assert limits_of(create_run().json()) == {}


def test_a_run_has_its_assistants_limits_unless_it_names_its_own(create_assistant, limits_of_run):
    assistant = create_assistant(**LIMITS).json()
    assert limits_of(assistant) == LIMITS
    assert limits_of_run(assistant) == LIMITS
    assert limits_of_run(assistant, queue_ttl=1, max_attempts=None) == {**LIMITS, "queue_ttl": 1}


def test_an_assistants_limits_change_and_go(create_assistant, client):
    path = f"/api/assistants/{create_assistant(**LIMITS).json()['assistant_id']}"
    changed = client.patch(path, json={"max_duration": 1, "queue_ttl": None}).json()
    assert limits_of(changed) == {"max_duration": 1, "max_attempts": 2}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("max_duration", value) for value in (0, -1, 0.0001, 2_592_001, 1e300, True, "60", [])),
        *(("queue_ttl", value) for value in (0, 2_592_001, False, {})),
        *(("max_attempts", value) for value in (0, -1, 101, 1.5, True, "2")),
    ],
)
def test_a_limit_that_is_none_is_a_400(create_run, create_assistant, name, value):
    for answer in (create_run(**{name: value}), create_assistant(**{name: value})):
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["path"].endswith(name)

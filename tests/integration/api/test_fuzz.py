"""No request, however malformed, gets a 500: promise 7 of the design."""

from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.lifecycle import RunStatus
from shared.models import RESOURCE_LISTS

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
IDS = st.lists(st.uuids().map(str), max_size=3)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT | IDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    [
        *("name", "description", "input", "model", "args", "stream", "thread_id", "new_thread", "other"),
        *RESOURCE_LISTS,
        *(f"additional_{name}" for name in RESOURCE_LISTS),
    ]
)
BODIES = st.dictionaries(FIELDS, JSON, max_size=4) | JSON
QUERIES = st.dictionaries(
    st.sampled_from(["page", "page_size", "status", "limit", "offset", "path"]),
    TEXT | st.integers().map(str) | st.floats().map(str) | st.sampled_from(RunStatus).map(str),
    max_size=3,
)

fuzzed = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def run(make_run):
    return make_run(status=RunStatus.SUCCEEDED)


@fuzzed
@given(body=BODIES)
def test_any_body_is_taken_or_refused(client, run, body):
    for method, path in [
        ("POST", "/api/assistants"),
        ("POST", f"/api/assistants/{run.assistant_id}/runs"),
        ("PATCH", f"/api/assistants/{run.assistant_id}"),
    ]:
        assert client.request(method, path, json=body).status_code in {200, 201, 400}


@fuzzed
@given(body=st.binary(max_size=30), content_type=st.sampled_from(["application/json", "text/plain", ""]))
def test_any_bytes_are_taken_or_refused(client, run, body, content_type):
    url = f"/api/assistants/{run.assistant_id}/runs"
    answer = client.post(url, content=body, headers={"Content-Type": content_type})
    assert answer.status_code in {201, 400}


@fuzzed
@given(query=QUERIES)
def test_any_query_is_understood_or_refused(client, run, query):
    for path in (
        "/api/assistants",
        f"/api/assistants/{run.assistant_id}/runs",
        f"/api/assistant-runs/{run.id}/events",
        f"/api/assistant-runs/{run.id}/events/stream",
    ):
        assert client.get(path, params=query).status_code in {200, 204, 400}


@fuzzed
@given(segment=st.binary(max_size=12) | st.uuids().map(str))
def test_any_path_is_known_or_not(client, segment):
    for path in ("assistants/{}", "assistant-runs/{}", "assistant-runs/{}/events/stream", "events/{}", "{}"):
        answer = client.get("http://testserver/api/" + path.format(quote(segment, safe="")))
        assert answer.status_code in {200, 404}
        assert answer.json()


@fuzzed
@given(header=st.binary(max_size=12).filter(lambda value: not set(value) & set(b"\r\n\x00")))
def test_any_header_is_understood_or_refused(client, run, header):
    url = f"/api/assistant-runs/{run.id}/events/stream"
    assert client.get(url, headers={b"Last-Event-ID": header}).status_code in {200, 204, 400}
    for name in (b"X-Request-ID", b"Content-Type", b"Accept"):
        assert client.get("/api/assistants", headers={name: header}).status_code == 200

"""Pages of other origins: off by default, exact, and told in every answer."""

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from shared.lifecycle import RunStatus
from tests.integration.api.serving import api_process

PAGE = "https://app.example.com"
OTHER = "https://app.example.com.evil.example"
RUN = "/api/assistant-runs/11111111-1111-4111-8111-111111111111"


@pytest.fixture
def setting_overrides(request):
    return {"cors_origins": getattr(request, "param", f"{PAGE}, http://localhost:3000")}


def preflight(client, path="/api/assistants", origin=PAGE, method="POST", headers="authorization, x-any"):
    asked = {"Origin": origin, "Access-Control-Request-Method": method}
    return client.options(path, headers={**asked, "Access-Control-Request-Headers": headers})


@pytest.mark.parametrize("path", ["/api/assistants", "/v1/threads", "/nowhere", "/api//users/"])
def test_a_browser_that_asks_first_needs_no_key(anonymous, path):
    answer = preflight(anonymous, path)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["access-control-allow-headers"] == "authorization, x-any"
    assert {"GET", "POST", "PATCH", "DELETE"} <= set(
        answer.headers["access-control-allow-methods"].split(", ")
    )
    assert "access-control-allow-credentials" not in answer.headers
    assert "Origin" in answer.headers["vary"]


@pytest.mark.parametrize("origin", [OTHER, "http://app.example.com", "https://APP.example.com", "null", ""])
def test_another_origin_is_granted_nothing(client, origin):
    for answer in (preflight(client, origin=origin), client.get("/api/users", headers={"Origin": origin})):
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert answer.headers["vary"] == "Origin"


def test_every_answer_tells_of_its_origin_an_error_too(client, anonymous):
    for method, path, status in [
        ("GET", "/api/users", 200),
        ("GET", "/health/live", 200),
        ("GET", "/openapi.json", 200),
        ("GET", RUN, 404),
        ("GET", "/nowhere", 404),
        ("PUT", "/api/users", 405),
        ("POST", "/api/threads", 400),
        ("POST", "/v1/threads", 422),
        ("OPTIONS", "/api/users", 405),
    ]:
        content = b"{" if method == "POST" else None
        answer = client.request(method, path, headers={"Origin": PAGE}, content=content)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, PAGE), path
        exposed = answer.headers["access-control-expose-headers"].lower().split(", ")
        assert {"x-request-id", "x-run-id", "retry-after", "x-runyard-ignored"} <= set(exposed)
    del anonymous.headers["Authorization"]
    refused = anonymous.get("/api/users", headers={"Origin": PAGE})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, PAGE)


def test_what_nobody_expected_is_told_too(settings):
    app = create_app(settings)

    async def fail(_request):
        raise RuntimeError

    app.add_route("/fail", fail)
    with TestClient(app, raise_server_exceptions=False) as client:
        answer = client.get("/fail", headers={"Origin": PAGE})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (500, PAGE)


def test_a_stream_and_its_end_are_told_too(served, make_run):
    path = f"/api/assistant-runs/{make_run(status=RunStatus.SUCCEEDED).id}/events/stream"
    for offset, status in (("0", 200), ("5", 204)):
        answer = served.client.get(
            path, params={"offset": offset}, headers={"Origin": "http://localhost:3000"}
        )
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"


@pytest.mark.parametrize("setting_overrides", [""], indirect=True)
def test_by_default_no_answer_says_a_word_of_it(client):
    for answer in (preflight(client), client.get("/api/users", headers={"Origin": PAGE})):
        assert not {"access-control-allow-origin", "vary"} & set(answer.headers)
    assert preflight(client).status_code == 405


def test_what_is_refused_before_the_application_is_told_too(committed_settings):
    """Too large for the server, and too many: neither reaches what answers otherwise."""
    limits = {"MAX_URL_BYTES": "100", "MAX_CONNECTIONS": "1", "CORS_ORIGINS": PAGE}
    head = b"Host: x\r\nOrigin: " + PAGE.encode() + b"\r\nConnection: close\r\n"
    with api_process(committed_settings, secret="none", **limits) as process:
        process.client.close()
        too_long = process.exchange(b"GET /" + b"a" * 200 + b" HTTP/1.1\r\n" + head + b"\r\n")
        assert too_long.startswith(b"HTTP/1.1 414")
        with process.connect() as first:
            first.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            assert first.recv(65536).startswith(b"HTTP/1.1 200")
            no_room = process.exchange(b"GET /api/users HTTP/1.1\r\n" + head + b"\r\n")
        assert no_room.startswith(b"HTTP/1.1 503")
    for answer in (too_long, no_room):
        assert b"access-control-allow-origin: " + PAGE.encode() in answer.lower()


SEEN_ANYWAY = {"cache-control", "content-language", "content-length", "content-type", "vary"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/threads?limit=1"),
        ("GET", "/api/users?x=1"),
        ("PUT", "/api/users"),
        ("POST", "/v1/threads"),
    ],
)
def test_a_page_sees_every_header_of_an_answer(client, method, path):
    for _ in range(2):
        assert client.post("/v1/threads", json={}).status_code == 201
    prefer = {} if "x=1" in path else {"Prefer": "handling=strict"}
    answer = client.request(method, path, headers={"Origin": PAGE, **prefer})
    exposed = set(answer.headers["access-control-expose-headers"].lower().split(", "))
    told = {name for name in answer.headers if not name.startswith("access-control-")}
    assert told - SEEN_ANYWAY <= exposed

"""What every request has in common: keys, sizes, paths, and the shape of a refusal."""

import pytest
from sqlalchemy import delete, event, exc

from api.griptape import assistants
from shared.db import unit_of_work
from shared.errors import ServiceUnavailableError
from shared.models import ApiKey
from tests.support.waiting import wait_until

LIMIT = 1_048_576
RUN = "11111111-1111-4111-8111-111111111111"


def assert_shape(answer, status, kind):
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"type", "errors"}
    assert body["type"] == kind
    assert all(item["message"] and item["type"] for item in body["errors"])


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer ry_wrong",
        "Basic cnk6",
        "ry_secret",
        "Bearer \xff\xfe",
        "Bearer a b",
    ],
)
def test_without_a_valid_key_nothing_is_told(anonymous, authorization):
    headers = {} if authorization is None else {"Authorization": authorization.encode("latin-1")}
    for method, path in [
        ("GET", "/api/assistants"),
        ("POST", "/api/assistants"),
        ("GET", "/api/assistant-runs/11111111-1111-4111-8111-111111111111/events/stream"),
        ("GET", "/api/events/x"),
    ]:
        answer = anonymous.request(method, path, headers=headers, content=b"{not json")
        assert_shape(answer, 401, "Unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"


def test_the_scheme_may_be_spelled_in_any_case(client):
    secret = client.headers["Authorization"].split()[1]
    assert client.get("/api/assistants", headers={"Authorization": f"bEARER {secret}"}).status_code == 200


@pytest.mark.parametrize("setting_overrides", [{"key_cache_ttl": 0.05}])
def test_a_deleted_key_stops_working(client, sessions):
    assert client.get("/api/assistants").status_code == 200
    with unit_of_work(sessions) as session:
        session.execute(delete(ApiKey))
    wait_until(lambda: client.get("/api/assistants").status_code == 401)


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/", 404, "NotFound"),
        ("GET", "/api", 404, "NotFound"),
        ("GET", "/api/nothing", 404, "NotFound"),
        ("GET", "/api/assistants/x/y/z", 404, "NotFound"),
        ("GET", "/%00", 404, "NotFound"),
        ("GET", "/%ff%fe", 404, "NotFound"),
        ("PUT", "/api/assistants", 405, "MethodNotAllowed"),
        ("PUT", f"/api/assistant-runs/{RUN}", 405, "MethodNotAllowed"),
        ("GET", f"/api/assistant-runs/{RUN}/cancel", 405, "MethodNotAllowed"),
    ],
)
def test_the_routers_own_refusals_have_the_shape_too(client, method, path, status, kind):
    answer = client.request(method, path)
    assert_shape(answer, status, kind)
    if status == 405:
        assert answer.headers["allow"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/api/assistants", "GET, POST"),
        ("POST", f"/api/assistants/{RUN}", "DELETE, GET, PATCH"),
        ("GET", f"/api/assistant-runs/{RUN}/cancel", "POST"),
        ("PUT", f"/v1/orchestrate/threads/{RUN}/messages", "GET, POST"),
        ("DELETE", "/v1/threads", "GET, POST"),
        ("POST", "/health/live", "GET, HEAD"),
    ],
)
def test_a_method_that_a_path_lacks_is_answered_with_all_that_it_has(client, method, path, allowed):
    answer = client.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize("body", ["[]", '"text"', "5", "null", ""])
def test_a_body_that_is_no_object_is_told_in_a_plain_sentence(client, body):
    answer = client.post("/api/assistants", content=body)
    assert_shape(answer, 400, "BadRequest")
    (fault,) = answer.json()["errors"]
    assert (fault["message"], fault["path"]) == ("The body has to be a JSON object.", "body")


@pytest.mark.parametrize("body", ["[]", '"text"', "5"])
def test_the_other_dialect_says_the_same_of_a_body_that_is_no_object(client, body):
    of_watsonx = client.post("/v1/orchestrate/runs", content=body)
    assert of_watsonx.status_code == 422
    (item,) = of_watsonx.json()["detail"]
    assert (item["msg"], item["loc"]) == ("The body has to be a JSON object.", ["body"])


@pytest.mark.parametrize(
    "path", ["//api/assistants", "/api//assistants", "/api/api/assistants", "//api///api//assistants//"]
)
def test_paths_are_taken_as_they_were_meant(client, make_assistant, path):
    assistant = make_assistant()
    assert client.get(f"http://testserver{path}").status_code == 200
    assert client.post(f"http://testserver{path}", json={"name": "Ann"}).status_code == 201
    assert client.post(f"http://testserver{path}/{assistant.id}/runs/", json={}).status_code == 201


@pytest.mark.parametrize("resource", ["users", "organizations", "assistants", "threads", "rulesets", "rules"])
def test_every_resource_is_found_under_the_paths_clients_make_of_it(client, resource):
    for path in (f"//api/{resource}", f"/api//{resource}/", f"/api/api/{resource}", f"/api/api//{resource}"):
        answer = client.get(f"http://testserver{path}")
        assert answer.status_code == 200
        assert answer.json() == client.get(f"/api/{resource}").json()


def test_a_body_of_two_mebibytes_is_a_413(client, anonymous, make_run):
    for path in ("assistants", f"assistant-runs/{make_run().id}/cancel", "nothing"):
        assert_shape(
            anonymous.post(f"/api/{path}", content=b'{"name": "' + b"x" * 2 * LIMIT + b'"}'),
            413,
            "ContentTooLarge",
        )


def test_a_body_that_grows_too_long_is_a_413(client):
    answer = client.post("/api/assistants", content=(b"x" * 65_536 for _ in range(32)))
    assert_shape(answer, 413, "ContentTooLarge")


def test_a_body_of_exactly_the_limit_is_read(client, create_run):
    head, tail = b'{"input": "', b'"}'
    answer = create_run(head + b"x" * (LIMIT - len(head) - len(tail)) + tail)
    assert answer.status_code == 201
    assert len(answer.json()["input"]) == LIMIT - len(head) - len(tail)


def test_a_body_full_of_brackets_is_read_in_time(create_run):
    answer = create_run(b'{"args": [' + b"[]," * 300_000 + b'"\\u0000"]}')
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["path"] == "body.args.300000"


def test_many_faults_make_a_short_answer(client):
    answer = client.post("/api/assistants", json={"name": 1, "tool_ids": "x"})
    assert len(answer.json()["errors"]) == 2
    answer = client.post("/api/assistants", json={"name": "x", "tool_ids": ["x"] * 20_000})
    assert len(answer.content) < 1000


@pytest.fixture
def failing(client, monkeypatch):
    """Make the assistants' query fail in some way."""

    def fail(error):
        def page(*_arguments, **_fields):
            raise error

        monkeypatch.setattr(assistants.queries, "page", page)
        return client.get("/api/assistants")

    return fail


@pytest.mark.parametrize(
    "error",
    [
        ServiceUnavailableError(),
        exc.OperationalError("SELECT secret", {}, OSError("server closed the connection")),
        exc.InterfaceError("SELECT secret", {}, OSError("connection already closed")),
        exc.TimeoutError("QueuePool limit"),
        exc.DBAPIError("SELECT secret", {}, OSError(), connection_invalidated=True),
    ],
)
def test_a_database_that_is_away_is_a_503_and_an_invitation(failing, error):
    answer = failing(error)
    assert_shape(answer, 503, "ServiceUnavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("secret"), exc.ProgrammingError("SELECT secret", {}, OSError("secret"))]
)
def test_an_error_of_ours_is_a_500_that_tells_nothing(failing, error):
    answer = failing(error)
    assert_shape(answer, 500, "InternalServerError")
    assert "secret" not in answer.text


def test_every_answer_carries_its_request_id(client):
    given = client.get("/api/assistants", headers={"X-Request-ID": "Root=1-67891233;a/b+c@d:{}"})
    assert given.headers["x-request-id"] == "Root=1-67891233;a/b+c@d:{}"
    for bad in ("no good", "bad\x7f", "", "x" * 129, "ü".encode("latin-1")):
        made = [client.get(path, headers={"X-Request-ID": bad}) for path in ("/api/assistants", "/x")]
        ids = {answer.headers["x-request-id"] for answer in made}
        assert len(ids) == 2, bad
        assert all(len(one) == 32 for one in ids), bad


def test_a_commit_that_fails_is_a_503_and_nothing_is_sent(
    client, make_assistant, exclusive_sessions, dispatcher
):
    """Commit, then answer: nobody is told of a run that is not stored."""
    url = f"/api/assistants/{make_assistant().id}/runs"

    def fail(_session):
        raise exc.OperationalError("COMMIT", {}, OSError("server closed the connection"))

    client.get(url)
    event.listen(exclusive_sessions, "before_commit", fail)
    assert_shape(client.post(url, json={"input": "Hi"}), 503, "ServiceUnavailable")
    event.remove(exclusive_sessions, "before_commit", fail)
    assert dispatcher.enqueued == []
    assert client.get(url).json()["assistant_runs"] == []

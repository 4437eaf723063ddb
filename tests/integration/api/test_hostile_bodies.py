"""What no client sends by accident, to every operation that has a body."""

import re
from datetime import timedelta

import orjson
import pytest

from tests.integration.api.openapi import DIALECTS, GRIPTAPE, WATSONX, documents, operations
from tests.integration.api.world import World

DEEP = 100_000

NOT_JSON = {
    "cut off": b'{"name": "x',
    "plain text": b"Hi",
    "a form": b"name=x&rule=y",
    "a blank": b" ",
    "gzip": b"\x1f\x8b\x08\x00",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "two documents": b"{}{}",
    "single quotes": b"{'name': 'x'}",
    "UTF-16": '{"name": "x"}'.encode("utf-16"),
    "invalid UTF-8": b'{"name": "\xff\xfe"}',
    "an invalid key": b'{"\xff": 1}',
    "half a surrogate pair": b'{"name": "\\ud800"}',
    "the pair turned round": b'{"name": "\\udc00\\ud800"}',
    "half a pair as a key": b'{"\\ud800": 1}',
    "NaN": b'{"name": NaN}',
    "a huge number": b'{"name": 1e999}',
    "infinity": b'{"unknown": 1e999}',
    "deep arrays": b'{"unknown": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "rather deep arrays": b'{"metadata": {"a": ' + b"[" * 70 + b"]" * 70 + b"}}",
    "a NUL": b'{"name": "\\u0000"}',
    "a NUL in a key": b'{"metadata": {"\\u0000": 1}}',
    "NUL bytes": b'{"name": "\x00"}',
}
NO_OBJECT = {"an array": b"[]", "a text": b'"x"', "a number": b"5", "true": b"true", "a list": b"[{}]"}
TAKE_ARRAYS = {"CreateEvents", "CreateSpans"}
TAKE_OUTPUTS = {"CreateEvents", "CompleteStructureRun"}
WRONG = [None, True, 0, -1, 1.5, "", "x", [], ["x"], [None], {}, {"x": "x"}, [[["x"]]]]
FEW = [None, -1, "", [None], {"x": "x"}]


@pytest.fixture
def setting_overrides():
    """Streams of runs that nobody executes end once their key is looked up elsewhere, where it is not."""
    return {"key_cache_ttl": timedelta(seconds=0.3)}


@pytest.fixture(params=DIALECTS)
def prefix(request):
    return DIALECTS[request.param]


@pytest.fixture
def with_body(prefix):
    document = operations(documents()[prefix], prefix)
    return [operation for operation in document if operation.has_body]


@pytest.fixture
def send(client, factories):
    world = World(client, factories)

    def send(operation, content):
        url = operation.url.format_map(world.ids_in(operation.prefix))
        return client.request(operation.method, url, content=content, headers=world.headers)

    return send


def assert_refused(answer, operation, *, too_large=False):
    """It is refused in its dialect's own shape: as too large, or else as not valid."""
    assert answer.headers["content-type"] == "application/json"
    check = {GRIPTAPE: check_griptape, WATSONX: check_watsonx}[operation.prefix]
    check(answer, operation.name, too_large=too_large)


def check_griptape(answer, what, *, too_large):
    assert answer.status_code == (413 if too_large else 400), what
    body = answer.json()
    assert set(body) == {"type", "errors"}, what
    assert body["type"] == ("ContentTooLarge" if too_large else "BadRequest")
    assert body["errors"]
    for item in body["errors"]:
        assert set(item) <= {"type", "message", "path"}, what
        assert all(isinstance(value, str) and value for value in item.values()), what


def check_watsonx(answer, what, *, too_large):
    assert answer.status_code == (413 if too_large else 422), what
    (detail,) = answer.json().values()
    if too_large:
        assert isinstance(detail, str), what
        return
    assert detail
    for item in detail:
        assert set(item) == {"loc", "msg", "type"}, what
        assert isinstance(item["loc"], list), what
        assert item["msg"], what


NAMES = {
    GRIPTAPE: {"CreateThread", "UpdateThread", "CreateApiKey", "CreateAssistantRun"},
    WATSONX: {
        "create_run_orchestrate_runs_post",
        "run_assistant_assistants__assistant_id__runs_post",
        "create_thread_threads_post",
        "create_message_threads__thread_id__messages_post",
    },
}
VERBS = re.compile(
    "Create|Update|CancelAssistantRuns|CancelStructureRuns|CompleteStructureRun|create_|update_|run_assistant"
)


def test_there_are_bodies_to_refuse(with_body, prefix):
    names = {operation.name for operation in with_body}
    assert NAMES[prefix] <= names
    assert all(VERBS.match(name) for name in names)


@pytest.mark.parametrize("what", [*NOT_JSON, *NO_OBJECT])
def test_what_is_no_json_object_is_a_400(with_body, send, what):
    content = (NOT_JSON | NO_OBJECT)[what]
    for operation in with_body:
        if content == b"[]" and operation.name in TAKE_ARRAYS:
            continue
        assert_refused(send(operation, content), operation)


def test_two_mebibytes_are_a_413(with_body, send):
    content = b'{"name": "' + b"x" * 2 * 1_048_576 + b'"}'
    for operation in with_body:
        if operation.name in TAKE_OUTPUTS:
            continue
        assert_refused(send(operation, content), operation, too_large=True)


@pytest.mark.parametrize("prefix", ["griptape"], indirect=True)
def test_where_outputs_are_taken_sixteen_mebibytes_are_a_413(with_body, send):
    content = b'{"name": "' + b"x" * 16 * 1_048_576 + b'"}'
    taking = [operation for operation in with_body if operation.name in TAKE_OUTPUTS]
    assert len(taking) == len(TAKE_OUTPUTS)
    for operation in taking:
        assert_refused(send(operation, content), operation, too_large=True)


@pytest.mark.parametrize("values", [FEW, pytest.param(WRONG, marks=pytest.mark.full_length)])
def test_a_value_of_the_wrong_type_is_taken_or_refused_but_never_an_error_of_ours(
    with_body, send, undone, values
):
    """Null clears, a run's arguments may be anything, lists may be empty: the rest is refused."""
    for operation in with_body:
        for field in operation.fields():
            for value in values:
                content = orjson.dumps({**operation.smallest_body(), field: value})
                with undone():
                    answer = send(operation, content)
                if answer.status_code not in {200, 201, 202}:
                    assert_refused(answer, operation)


@pytest.fixture
def ours():
    """The operations of our first dialect that have a body."""
    return [operation for operation in operations(documents()[GRIPTAPE]) if operation.has_body]


def test_a_key_said_twice_is_the_last_one(client, send, ours):
    (create_rule,) = [operation for operation in ours if operation.name == "CreateRule"]
    answer = send(create_rule, b'{"name": 5, "rule": "x", "name": "y"}')
    assert (answer.status_code, answer.json()["name"]) == (201, "y")


def test_many_messages_and_many_faults_make_short_answers(ours, send):
    (create_thread,) = [operation for operation in ours if operation.name == "CreateThread"]
    answer = send(create_thread, b'{"name": "x", "messages": [' + b"5," * 300_000 + b"5]}")
    assert_refused(answer, create_thread)
    assert len(answer.content) < 10_000

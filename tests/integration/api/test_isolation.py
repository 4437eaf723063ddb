"""Another organization's ids are as unknown as any, on every route that an OpenAPI document has."""

import uuid

import pytest
from sqlalchemy import select

from shared.models import Base
from tests.integration.api.openapi import DIALECTS, GRIPTAPE, WATSONX, documents, operations
from tests.integration.api.world import World

NEUTRAL = {
    "page",
    "page_size",
    "limit",
    "offset",
    "status",
    "Last-Event-ID",
    "last-event-id",
    "Idempotency-Key",
    "wait",
    "stream",
    "stream_timeout",
    "cursor",  # one of theirs is refused: `test_cursors.py`
    "order",
    "created_after",
    "created_before",
    "kind",
    "type",
    "metadata",
}
"""Parameters that name nothing."""

LATER = {"knowledge_base_ids", "retriever_ids", "tool_ids"}
"""Ids of resources that do not exist yet: there is nothing to be found by them."""


KINDS = {"agent_id": "assistant_id"}
"""What an id in a body is the id of, if it is not called so."""


@pytest.fixture(params=DIALECTS)
def prefix(request):
    return DIALECTS[request.param]


@pytest.fixture
def document(prefix):
    return [operation for operation in operations(documents()[prefix], prefix) if operation.is_keyed]


@pytest.fixture
def ours(client, factories):
    return World(client, factories)


@pytest.fixture
def theirs(client, factories):
    return World(client, factories)


@pytest.fixture
def dump(sessions):
    """Every row of every table."""

    def dump():
        with sessions() as session:
            return {
                table.name: sorted(map(repr, session.execute(select(table))))
                for table in Base.metadata.sorted_tables
            }

    return dump


@pytest.fixture
def send(client, ours):
    """Send an operation as we, with ids of our own unless others are given."""

    def send(operation, ids=None, **request):
        url = operation.url.format_map(ours.ids_in(operation.prefix) | (ids or {}))
        return client.request(operation.method, url, headers=ours.headers, **request)

    return send


def unknown():
    return str(uuid.uuid4())


def answers_alike(send, given, other, statuses):
    """Assert that two values get the same answer, but for themselves; `send` is called with each."""
    answers = [send(given), send(other)]
    assert {answer.status_code for answer in answers} <= statuses, [answer.request.url for answer in answers]
    assert answers[0].status_code == answers[1].status_code
    assert answers[0].text.replace(given, other) == answers[1].text


IN_PATHS = {
    WATSONX: {"assistant_id", "run_id", "thread_id", "message_id", "agent_id", "tool_id"},
}


def test_an_id_in_a_path_is_a_404_and_nothing_changes(document, prefix, send, theirs, dump):
    before = dump()
    walked = [(operation, name) for operation in document for name in operation.parameters("path")]
    every = set(theirs.ids) - {"run_id"}  # what the other dialect calls it
    assert {name for _, name in walked} == IN_PATHS.get(prefix, every)
    for operation, name in walked:

        def with_id(value, operation=operation, name=name):
            return send(operation, {name: value}, json=operation.smallest_body())

        answers_alike(with_id, theirs.ids_in(prefix)[name], unknown(), {404})
    assert dump() == before


IN_BODIES = {
    GRIPTAPE: {
        ("CreateAssistant", "ruleset_ids"),
        ("CreateAssistant", "structure_ids"),
        ("CreateAssistantRun", "additional_structure_ids"),
        ("UpdateAssistant", "ruleset_ids"),
        ("CreateAssistantRun", "ruleset_ids"),
        ("CreateAssistantRun", "additional_ruleset_ids"),
        ("CreateAssistantRun", "thread_id"),
        ("CreateRuleset", "rule_ids"),
        ("UpdateRuleset", "rule_ids"),
    },
    WATSONX: {
        ("create_run_orchestrate_runs_post", "thread_id"),
        ("create_run_orchestrate_runs_post", "agent_id"),
        ("create_run_and_stream_orchestrate_runs_stream_post", "agent_id"),
        ("create_thread_threads_post", "agent_id"),
        ("create_thread_threads_post", "assistant_id"),
    },
}


def test_an_id_in_a_body_is_refused_like_one_nobody_has(document, prefix, send, theirs, dump):
    before = dump()
    walked = set()
    for operation in document:
        for field in operation.fields():
            kind = field.removeprefix("additional_").removesuffix("s")
            if not kind.endswith("_id") or field.removeprefix("additional_") in LATER:
                continue
            is_list = field.endswith("s")

            def with_id(value, operation=operation, field=field, is_list=is_list):
                body = {**operation.smallest_body(), field: [value] if is_list else value}
                return send(operation, json=body)

            answers_alike(with_id, theirs.ids[KINDS.get(kind, kind)], unknown(), {400, 404, 422})
            walked.add((operation.name, field))
    assert IN_BODIES[prefix] <= walked
    assert dump() == before


def test_a_query_finds_nothing_of_theirs(document, send, theirs, dump):
    before = dump()
    for operation in document:
        assert set(operation.parameters("header")) <= NEUTRAL
        for name in set(operation.parameters("query")) - NEUTRAL:

            def with_value(value, operation=operation, name=name):
                return send(operation, params={name: value})

            answers_alike(with_value, theirs.queries[name], unknown(), {200})
    assert dump() == before


def test_no_list_and_no_answer_holds_an_id_of_theirs(document, send, theirs):
    for operation in document:
        if operation.method == "GET":
            answer = send(operation)
            assert answer.status_code == 200, (
                operation.name
            )  # our own ids are known, so a 404 means something
            assert not [value for value in theirs.ids.values() if value in answer.text], operation.name


def test_our_ids_are_known_where_theirs_are_not(document, send):
    for operation in document:
        if operation.method == "PATCH":
            assert send(operation, json={}).status_code == 200, operation.name


CREATE_RUN = {"CreateAssistantRun", "create_run_orchestrate_runs_post"}


def test_a_run_on_their_thread_makes_no_thread_instead(document, send, theirs, dump):
    before = dump()
    (create_run,) = [operation for operation in document if operation.name in CREATE_RUN]
    answer = send(create_run, json={"thread_id": theirs.ids["thread_id"], "new_thread": True})
    assert answer.status_code == 404
    assert dump() == before

"""Answers are what the OpenAPI document says, to generated requests, good and bad, of every operation."""

import copy
from datetime import timedelta
from functools import cache

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.integration.api.openapi import GRIPTAPE, WATSONX, documents, operations
from tests.integration.api.world import World, needed

# Not among them: that whatever breaks the document is refused, since unknown keys are not; and that whatever
# follows it is taken, since NUL characters and ids of nothing are not. Other tests say what is refused.
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]

# The document describes a stream as a text, and the check takes its schema for that of each event's fields.
STREAM_CHECKS = [check for check in CHECKS if check is not response_schema_conformance]

FEW, MANY = 3, 24
"""Examples of each operation: with `make test`, whose runs try others each time, and with `make chaos`."""


@cache
def document(prefix):
    """The documents without the catch-all answer: every status has to be named."""
    strict = copy.deepcopy(documents()[prefix])
    for operation in operations(strict):
        operation.spec["responses"].pop("default", None)
    return strict


@cache
def schema(prefix):
    return schemathesis.openapi.from_dict(document(prefix))


LONGEST_URL = 8192


OPERATIONS = {
    (prefix, operation.name): operation
    for prefix in (GRIPTAPE, WATSONX)
    for operation in operations(document(prefix))
    if operation.is_keyed
}


@pytest.fixture
def setting_overrides():
    """Streams of runs that nobody executes end once their key is looked up elsewhere, where it is not."""
    return {"key_cache_ttl": timedelta(seconds=0.3)}


@pytest.mark.parametrize(
    ("prefix", "name", "examples"),
    [
        *((*operation, FEW) for operation in sorted(OPERATIONS)[::3]),
        *(pytest.param(*operation, MANY, marks=pytest.mark.full_length) for operation in sorted(OPERATIONS)),
    ],
)
def test_every_answer_is_as_documented(anonymous, factories, undone, prefix, name, examples):
    operation = OPERATIONS[prefix, name]
    world = World(anonymous, factories, needed([operation]))
    generated = schema(prefix)[operation.path][operation.method]
    known = {parameter: world.ids_in(prefix)[parameter] for parameter in operation.parameters("path")}
    cases = st.one_of(
        [
            generated.as_strategy(mode, path_parameters=ids)
            for mode in GenerationMode
            for ids in ([known, None] if known else [None])
        ]
    )

    @settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(case=cases)
    def check(case):
        """What the document allows is sent, but for addresses that no server takes (`test_refusals`)."""
        request = requests.Request(
            **case.as_transport_kwargs(base_url=f"http://testserver{prefix}", headers=world.headers)
        ).prepare()
        assume(len(request.url) <= LONGEST_URL)
        with undone():
            answer = anonymous.request(
                request.method, request.url, headers=dict(request.headers), content=request.body
            )
        is_stream = answer.headers.get("content-type", "").startswith("text/event-stream")
        case.validate_response(answer, checks=STREAM_CHECKS if is_stream else CHECKS)

    check()

"""Every pair of verbs on every resource at once: whoever comes second is told the truth."""

import itertools
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

import pytest

from tests.integration.api.openapi import DIALECTS, GRIPTAPE, WATSONX, documents, operations
from tests.integration.api.world import World, needed

pytestmark = pytest.mark.timeout(300)  # each of some cases is a hundred small worlds

HONEST = {200, 201, 202, 204, 404, 409}
"""What one of two may hear: it was done, the thing is gone, or the other forbids it."""

FEW, MANY = 1, 4
"""Worlds for each pair of verbs: with `make test` and with `make chaos`."""

TEXTS = {"name", "title", "description", "input", "output", "rule"}
"""Fields of any change that take any text."""


class Resource:
    """A kind of thing, by the parameter that names it, and all that can be asked of it."""

    def __init__(self, prefix, name):
        self.prefix = prefix
        self.name = name
        self.operations = []

    def __repr__(self):
        dialect = "watsonx" if self.prefix == WATSONX else "griptape"
        return f"{dialect}-{self.name}"

    def pairs(self):
        """Two of its verbs, of which one changes something; also one verb with itself."""
        for pair in itertools.combinations_with_replacement(self.operations, 2):
            if any(operation.method != "GET" for operation in pair):
                yield pair


def resources(document, prefix):
    """All kinds of things that paths of a dialect name; an operation belongs to the last that it names."""
    found = defaultdict(list)
    for operation in operations(document, prefix):
        names = operation.parameters("path")
        if operation.is_keyed and names and "stream" not in operation.path:
            found[names[-1]].append(operation)
    for name, its in found.items():
        resource = Resource(prefix, name)
        resource.operations = its
        yield resource


NAMES = {
    GRIPTAPE: {
        "api_key_id",
        "assistant_id",
        "assistant_run_id",
        "deployment_id",
        "event_id",
        "message_id",
        "organization_id",
        "rule_id",
        "ruleset_id",
        "structure_id",
        "structure_run_id",
        "thread_id",
        "user_id",
    },
    WATSONX: {"agent_id", "assistant_id", "message_id", "run_id", "thread_id", "tool_id"},
}
"""Every kind of thing there is: a new one is a case of the test below as soon as it is named here."""


def test_no_resource_is_left_out():
    for prefix, document in documents().items():
        assert {resource.name for resource in resources(document, prefix)} == NAMES[prefix]


def body_of(operation, world):
    """A body that really does something."""
    body = operation.smallest_body()
    if not isinstance(body, dict):
        return body
    body |= {name: "changed" for name in operation.fields() if name in TEXTS}
    if "rule_ids" in operation.fields():
        body["rule_ids"] = [world.ids["rule_id"]]
    if "content" in operation.fields() and operation.method == "PATCH":
        body["content"] = "changed"
    if "messages" in operation.fields() and operation.method == "PATCH":
        body["messages"] = [{"input": "a", "output": "b"}] * 3
    if operation.name == "CreateStructureRun":
        body = {"execution": "external"}
    return body


RESOURCES = [(dialect, name) for dialect, prefix in DIALECTS.items() for name in sorted(NAMES[prefix])]


@pytest.mark.parametrize(
    ("dialect", "name", "rounds"),
    [
        *((*resource, FEW) for resource in RESOURCES[::2]),
        *(pytest.param(*resource, MANY, marks=pytest.mark.full_length) for resource in RESOURCES),
    ],
)
def test_two_verbs_at_once_are_both_answered_honestly(served, factories, dialect, name, rounds):
    prefix = DIALECTS[dialect]
    (resource,) = [one for one in resources(documents()[prefix], prefix) if one.name == name]
    lies = []
    with ThreadPoolExecutor(4) as pool:
        for first, second in resource.pairs():
            for _ in range(rounds):
                world = World(served.client, factories, needed((first, second)))
                world.settle()
                barrier = threading.Barrier(4)

                def ask(operation, world=world, barrier=barrier):
                    url = operation.url.format_map(world.ids_in(prefix))
                    body = body_of(operation, world)
                    barrier.wait(60)
                    return served.client.request(operation.method, url, headers=world.headers, json=body)

                answers = list(pool.map(ask, (first, second, second, first)))
                allowed = HONEST | (
                    {HTTPStatus.UNAUTHORIZED} if world.loses_its_key(first, second) else set()
                )
                lies += [
                    f"{first.name} and {second.name}: {answer.request.method} {answer.url} "
                    f"was {answer.status_code}: {answer.text[:200]}"
                    for answer in answers
                    if answer.status_code not in allowed
                ]
    assert lies == []


def together(count, work):
    """Do the same `count` times at once."""
    barrier = threading.Barrier(count)

    def one(number):
        barrier.wait(60)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_eight_first_runs_have_one_default_assistant(served):
    answers = together(8, lambda _: served.client.post("/api/v1/orchestrate/runs", json={}))
    assert {answer.status_code for answer in answers} == {200}
    assistants = served.client.get("/api/assistants").json()["assistants"]
    assert [assistant["name"] for assistant in assistants] == ["default"]


@pytest.mark.parametrize("path", ["threads", "rulesets"])
def test_of_several_that_want_an_alias_one_gets_it(served, path):
    answers = together(6, lambda _: served.client.post(f"/api/{path}", json={"name": "x", "alias": "same"}))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 5


@pytest.mark.parametrize("path", ["threads", "rulesets"])
def test_aliases_that_are_exchanged_at_once_are_no_500(served, path):
    kind = path.removesuffix("s")
    for turn in range(5):
        names = [f"{turn}-a", f"{turn}-b"]
        ids = [
            served.client.post(f"/api/{path}", json={"name": "x", "alias": alias}).json()[f"{kind}_id"]
            for alias in names
        ]
        answers = together(
            2,
            lambda n, ids=ids, names=names: served.client.patch(
                f"/api/{path}/{ids[n]}", json={"alias": names[1 - n]}
            ),
        )
        assert {answer.status_code for answer in answers} <= {200, 409}


def test_one_idempotency_key_sent_at_once_makes_one_thread(served):
    headers = {"Idempotency-Key": "once"}
    answers = together(6, lambda _: served.client.post("/api/threads", json={"name": "x"}, headers=headers))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["thread_id"] for answer in answers}) == 1


def test_a_thread_is_deleted_while_runs_come_to_it(served, make_assistant):
    assistant = make_assistant()
    for _ in range(5):
        thread = served.client.post("/api/threads", json={"name": "x"}).json()["thread_id"]

        def ask(number, thread=thread):
            if number == 0:
                return served.client.delete(f"/api/threads/{thread}")
            body = {"input": "x", "thread_id": thread}
            return served.client.post(f"/api/assistants/{assistant.id}/runs", json=body)

        deleted, *submitted = together(6, ask)
        assert deleted.status_code == 204
        assert {answer.status_code for answer in submitted} <= {201, 404}

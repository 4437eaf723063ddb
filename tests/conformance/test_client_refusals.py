"""The generated client: typed errors, base URLs, and that no operation of it was forgotten."""

import inspect
import re
from pathlib import Path

import pytest

from tests.conformance.generated import VERSIONS, connected, operations, route

pytestmark = pytest.mark.timeout(300)

ELSEWHERE = {
    "get_structures_dashboard",  # dashboards are not served
    "create_function_deployment",  # nor are functions and tools
    "list_function_deployments",
    "create_tool_deployment",
    "list_tool_deployments",
    "delete_organization_user",  # not in the API that this one is compatible with
}

OURS = sorted(set(operations("0.2.0")) - ELSEWHERE)

WITH_NAME = (
    "create_assistant",
    "create_structure",
    "create_organization",
    "create_rule",
    "create_ruleset",
    "create_thread",
)


BODIES = {
    "create_assistant_run": {},
    "create_structure_run": {"args": []},
    "create_structure_deployment": {},
    "create_events": {"events": []},
}
"""Bodies that are not made of names and texts."""


def path_arguments(operation):
    """What an operation takes by position: the ids in its path."""
    parameters = inspect.signature(operations("0.2.0")[operation].sync_detailed).parameters.values()
    return [each.name for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]


def takes(operation, name):
    return name in inspect.signature(operations("0.2.0")[operation].sync_detailed).parameters


def valid_body(api, operation):
    if not takes(operation, "body"):
        return {}
    required = dict.fromkeys(("name", "rule", "input", "output"), "x")
    fields = BODIES.get(operation, required)
    return {"body": api.body(operation, **fields)}


@pytest.mark.parametrize("operation", [each for each in OURS if path_arguments(each)])
def test_what_does_not_exist_is_a_typed_404(api, operation):
    for identifier in ("00000000-0000-4000-8000-000000000000", "no-id-at-all"):
        refusal = api.refused(404, operation, identifier, **valid_body(api, operation))
        assert refusal.type_ == "NotFound"
        assert identifier in refusal.errors[0]["message"]


@pytest.mark.parametrize("operation", WITH_NAME)
def test_a_name_that_is_too_long_is_a_typed_400(api, operation):
    refusal = api.refused(400, operation, body=api.body(operation, name="x" * 201, rule="x"))
    assert refusal.type_ == "BadRequest"
    assert [error["path"] for error in refusal.errors] == ["body.name"]


@pytest.mark.parametrize("operation", [each for each in OURS if takes(each, "page")])
def test_page_zero_is_a_typed_400(api, operation):
    arguments = ["00000000-0000-4000-8000-000000000000"] * len(path_arguments(operation))
    refusal = api.refused(400, operation, *arguments, page=0)
    assert refusal.type_ == "BadRequest"
    assert [error["path"] for error in refusal.errors] == ["query.page"]


def test_a_key_that_is_none_is_a_typed_401(stack, api):
    with connected(api.version, stack.file["api_url"] + route(api.version), "no-key") as stranger:
        assert stranger.refused(401, "list_assistants").type_ == "Unauthorized"


def test_sync_gives_the_result_alone(api):
    listed = api.operations["list_assistants"].sync(client=api.client, page_size=1)
    assert isinstance(listed, api.models.ListAssistantsResponseContent)
    refusal = api.operations["get_rule"].sync("no-id-at-all", client=api.client)
    assert isinstance(refusal, api.models.ClientErrorResponseContent)


async def test_the_asynchronous_half_gives_the_same(api):
    operation = api.operations["list_organization_users"]
    (organization_id, *_) = api.call("list_users").users[0].organizations
    listed = await operation.asyncio(organization_id, client=api.client)
    assert listed == api.call("list_organization_users", organization_id)
    await api.client.get_async_httpx_client().aclose()


@pytest.mark.parametrize(
    ("version", "path"),
    [
        ("0.2.0", ""),
        ("0.2.0", "/"),
        ("0.2.0", "/api"),  # as the client's README has it: it makes /api/api
        ("0.2.0", "/api/"),
        ("0.1.1", "/api"),
        ("0.1.1", "/api/"),
        ("0.1.1", "//api"),
        ("0.1.1", "/api/api"),
    ],
)
def test_every_base_url_in_use_leads_here(stack, version, path):
    with connected(version, stack.file["api_url"] + path, stack.file["api_key"]) as api:
        created = api.call("create_rule", body=api.body("create_rule", name="x", rule="x"))
        assert api.call("get_rule", created.rule_id).rule == "x"


def test_both_versions_have_the_same_operations():
    one, other = (set(operations(version)) for version in VERSIONS)
    assert one == other


def test_no_operation_was_forgotten():
    sources = "".join(path.read_text() for path in Path(__file__).parent.glob("test_client_*.py"))
    called = set(re.findall(r"call(?:_text)?\(\s*\"(\w+)\"", sources))
    called |= {f"create_{kind}" for kind in re.findall(r"\bnew\(\s*\"(\w+)\"", sources)}
    assert called == set(OURS)

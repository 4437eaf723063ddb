"""The OpenAPI document is true."""

import pytest

RESOURCES = ("Assistant", "Thread", "Ruleset", "Rule", "Organization")

OPERATIONS = {
    *(f"{verb}{name}" for name in RESOURCES for verb in ("Create", "Get", "Update", "Delete")),
    *(f"List{name}s" for name in RESOURCES),
    *("CreateAssistantRun", "ListAssistantRuns", "GetAssistantRun", "CancelAssistantRun"),
    *("ListAssistantEvents", "GetAssistantRunEventsSSE", "GetEvent", "GetLiveness", "GetReadiness"),
    *("ListMessages", "CreateMessage", "GetMessage", "UpdateMessage", "DeleteMessage"),
    *("ListUsers", "GetUser", "ListOrganizationUsers"),
    *("ListApiKeys", "CreateApiKey", "ListOrganizationApiKeys", "CreateOrganizationApiKey"),
    *("GetApiKey", "UpdateApiKey", "DeleteApiKey"),
}

BODY_MAY_BE_MISSING = {"CreateAssistantRun", "UpdateAssistant", "UpdateApiKey"}


@pytest.fixture
def operations(anonymous):
    document = anonymous.get("/openapi.json").json()
    return [operation for path in document["paths"].values() for operation in path.values()]


def test_every_operation_has_its_name(operations):
    assert {operation["operationId"] for operation in operations} == OPERATIONS


def test_every_operation_of_the_dialect_wants_a_key_and_says_how_it_fails(operations):
    for operation in operations:
        if "Health" in operation["tags"]:
            assert "security" not in operation
            continue
        assert operation["security"] == [{"ApiKey": []}]
        errors = {status for status in operation["responses"] if not status.startswith("2")}
        assert {"401", "503", "default"} <= errors
        assert "422" not in errors
        assert ("requestBody" in operation) == ("413" in errors)
        assert not operation.get("parameters") or errors & {"400", "404"}


def test_the_codes_of_success(operations):
    codes = {
        operation["operationId"]: [status for status in operation["responses"] if status.startswith("2")]
        for operation in operations
    }
    of_verb = {"Create": "201", "Delete": "204"}
    expected = {name: [of_verb.get(name[:6], "200")] for name in OPERATIONS}
    assert codes == expected


def test_a_body_that_may_be_missing_is_documented_as_such(operations):
    bodies = {
        op["operationId"]: op["requestBody"].get("required", False)
        for op in operations
        if "requestBody" in op
    }
    expected = {name for name in OPERATIONS if name.startswith(("Create", "Update"))}
    assert bodies == {name: name not in BODY_MAY_BE_MISSING for name in expected}


def test_the_document_can_be_looked_at(anonymous):
    assert "swagger" in anonymous.get("/docs").text.lower()

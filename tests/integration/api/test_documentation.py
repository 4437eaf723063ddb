"""The OpenAPI document is true."""

import pytest

OPERATIONS = {
    *("ListAssistants", "CreateAssistant", "GetAssistant", "UpdateAssistant", "DeleteAssistant"),
    *("CreateAssistantRun", "ListAssistantRuns", "GetAssistantRun", "CancelAssistantRun"),
    *("ListAssistantRunEvents", "StreamAssistantRunEvents", "GetEvent", "GetLiveness", "GetReadiness"),
}


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
    created = {"CreateAssistant": ["201"], "CreateAssistantRun": ["201"], "DeleteAssistant": ["204"]}
    assert codes == {name: ["200"] for name in OPERATIONS} | created


def test_a_body_that_may_be_missing_is_documented_as_such(operations):
    bodies = {
        op["operationId"]: op["requestBody"].get("required", False)
        for op in operations
        if "requestBody" in op
    }
    assert bodies == {"CreateAssistant": True, "UpdateAssistant": False, "CreateAssistantRun": False}


def test_the_document_can_be_looked_at(anonymous):
    assert "swagger" in anonymous.get("/docs").text.lower()

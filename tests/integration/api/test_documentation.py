"""The OpenAPI document is true."""

import re
import threading

import pytest
from fastapi import FastAPI

from api.streaming.waiting import WAIT_TIMEOUT

RESOURCES = ("Assistant", "Structure", "Thread", "Ruleset", "Rule", "Organization")

OPERATIONS = {
    *(f"{verb}{name}" for name in RESOURCES for verb in ("Create", "Get", "Update", "Delete")),
    *(f"List{name}s" for name in RESOURCES),
    *("CreateAssistantRun", "ListAssistantRuns", "GetAssistantRun", "CancelAssistantRun"),
    *("CancelAssistantRuns", "ListAllAssistantRuns", "ListAllStructureRuns"),
    *("CreateStructureRun", "ListStructureRuns", "GetStructureRun", "CancelStructureRun"),
    *("CancelStructureRuns", "DeleteAssistantRun", "DeleteStructureRun"),
    *("CompleteStructureRun", "ListStructureRunLogs", "ListCalledStructureRuns"),
    *("InvokeStructureWebhookGet", "InvokeStructureWebhookPost"),
    *("ListEvents", "CreateEvents", "GetStructureRunEventsSSE", "CreateSpans", "ListSpans"),
    *("CreateStructureDeployment", "ListStructureDeployments", "GetDeployment"),
    *("ListAssistantEvents", "GetAssistantRunEventsSSE", "GetEvent", "GetLiveness", "GetReadiness"),
    *("ListMessages", "CreateMessage", "GetMessage", "UpdateMessage", "DeleteMessage"),
    *("ListUsers", "GetUser", "ListOrganizationUsers"),
    *("ListApiKeys", "CreateApiKey", "ListOrganizationApiKeys", "CreateOrganizationApiKey"),
    *("GetApiKey", "UpdateApiKey", "DeleteApiKey"),
}
STREAMS = ("GetAssistantRunEventsSSE", "GetStructureRunEventsSSE")


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
        schemes = {scheme for way in operation["security"] for scheme in way}
        of_webhook = {"WebhookKey"} if operation["operationId"].startswith("InvokeStructure") else set()
        assert schemes == {"ApiKey"} | of_webhook
        errors = {status for status in operation["responses"] if not status.startswith("2")}
        assert {"401", "503", "default"} <= errors
        assert "422" not in errors
        assert ("requestBody" in operation) == ("413" in errors)
        assert not operation.get("parameters") or errors & {"400", "404"}


def descriptions(document):
    """All summaries and descriptions in a document."""
    if isinstance(document, list):
        return [text for item in document for text in descriptions(item)]
    if not isinstance(document, dict):
        return []
    own = [document[key] for key in ("summary", "description") if isinstance(document.get(key), str)]
    return own + [text for item in document.values() for text in descriptions(item)]


@pytest.mark.parametrize("mount", ["", "/v1"])
def test_descriptions_are_for_callers(anonymous, mount):
    """They say nothing of how the server sees itself."""
    texts = descriptions(anonymous.get(f"{mount}/openapi.json").json())
    assert len(texts) > 100
    assert [
        text for text in texts if re.search(r"\b(ours?|us|dialect|contract)\b", text, re.IGNORECASE)
    ] == []


def test_the_codes_of_success(operations):
    codes = {
        operation["operationId"]: [status for status in operation["responses"] if status.startswith("2")]
        for operation in operations
    }
    of_verb = {"Create": "201", "Delete": "204"}
    expected = {name: [of_verb.get(name[:6], "200")] for name in OPERATIONS}
    expected |= {"CreateEvents": ["202"], "CreateStructureDeployment": ["202"], "CreateSpans": ["200"]}
    expected |= {name: ["200", "204"] for name in STREAMS}
    assert codes == expected


@pytest.mark.usefixtures("new_application")
@pytest.mark.parametrize("mount", ["", "/api/v1", "/v1"])
def test_a_document_is_made_once_and_never_by_the_event_loop(anonymous, monkeypatch, mount):
    """It takes most of a second, and needs no key."""
    makers = []
    make = FastAPI.openapi
    monkeypatch.setattr(
        FastAPI, "openapi", lambda app: makers.append(threading.current_thread()) or make(app)
    )
    answers = [anonymous.get(f"{mount}/openapi.json") for _ in range(3)]
    assert {answer.status_code for answer in answers} == {200}
    (maker,) = makers
    assert maker is not anonymous.portal.call(threading.current_thread)
    head = anonymous.head(f"{mount}/openapi.json")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(answers[0].content))


FILES = {
    "docs": {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"},
    "redoc": {"redoc.standalone.js": "text/javascript"},
}


@pytest.mark.parametrize("mount", ["", "/api/v1", "/v1"])
@pytest.mark.parametrize("page", FILES)
def test_the_pages_need_nothing_from_anywhere_else(anonymous, mount, page):
    text = anonymous.get(f"{mount}/{page}").text
    assert "//" not in re.sub(r"(?m)^\s*//.*$|</?!?--|<!--.*?-->", "", text)
    assert f"{mount}/openapi.json" in text
    for name, kind in FILES[page].items():
        assert f'"{mount}/docs/{name}"' in text
        file = anonymous.get(f"{mount}/docs/{name}")
        assert (file.status_code, file.headers["content-type"]) == (200, f"{kind}; charset=utf-8")
        assert len(file.content) == int(file.headers["content-length"]) > 100_000
        assert b"/redoc/logo" not in file.content
    assert anonymous.get(f"{mount}/docs/favicon.png").status_code == 404
    assert anonymous.get(f"{mount}/docs/..%2fcore.py").status_code == 404


def test_the_longest_wait_is_told_and_ends_before_a_proxy_gives_up(operations):
    waits = [
        parameter
        for operation in operations
        for parameter in operation.get("parameters", ())
        if parameter["name"] == "wait"
    ]
    assert len(waits) == 2
    for parameter in waits:
        assert f"at most {WAIT_TIMEOUT:g}" in parameter["description"]
    assert WAIT_TIMEOUT <= 50


def test_a_body_that_may_be_missing_is_documented_as_such(operations):
    bodies = {
        op["operationId"]: op["requestBody"].get("required", False)
        for op in operations
        if "requestBody" in op
    }
    optional = {name for name in OPERATIONS if name.startswith("Update")}
    optional |= {"CreateAssistantRun", "CancelAssistantRuns", "CreateStructureRun"}
    optional |= {"CancelStructureRuns", "CompleteStructureRun", "CreateStructureDeployment"}
    needed = {name for name in OPERATIONS if name.startswith("Create")} - optional
    assert bodies == dict.fromkeys(optional, False) | dict.fromkeys(needed, True)


def test_the_document_can_be_looked_at_and_tried_with_a_key(anonymous, secret):
    """What Swagger UI does: load the document, ask for what its scheme wants, and send that."""
    page = anonymous.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    (location,) = re.findall(r"url: '(.*?)'", page.text)
    document = anonymous.get(location).json()
    schemes = document["components"]["securitySchemes"]
    assert set(schemes) == {"ApiKey", "WebhookKey"}
    name, kind = "ApiKey", schemes["ApiKey"]
    assert (kind["type"], kind["scheme"]) == ("http", "bearer")
    assert kind["description"]
    listed = [path for path, methods in document["paths"].items() if "get" in methods and "{" not in path]
    keyed = [path for path in listed if {name: []} in document["paths"][path]["get"].get("security", ())]
    assert {"/api/users", "/api/threads", "/api/rulesets"} <= set(keyed)
    for path in keyed:
        assert anonymous.get(path).status_code == 401
        assert anonymous.get(path, headers={"Authorization": f"Bearer {secret}"}).status_code == 200

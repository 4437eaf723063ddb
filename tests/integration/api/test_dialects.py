"""A dialect is one value: its routes, its error shape and its document, beside those of the others."""

import dataclasses
import re
from types import ModuleType

import httpx2
import pytest
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel
from starlette.testclient import TestClient

from api.app import create_app
from api.auth import KeyCache
from api.dependencies import PrincipalDep
from api.dialect import ROOT, Dialect, Dialects
from api.dialects import DIALECTS
from api.errors import Problem
from api.key_uses import KeyUses
from api.routing import KeyedRoute
from api.streaming.responses import JsonResponse
from shared.db import unit_of_work
from shared.keys.service import create_key
from shared.models import KeyScope
from tests.integration.api.serving import serving
from tests.support.checkout import ROOT as CHECKOUT

PAGE = CHECKOUT / "docs" / "extending.md"


class Greeting(BaseModel):
    """Who is greeted."""

    name: str


def render(problem: Problem) -> JsonResponse:
    said = problem.faults[0].message
    return JsonResponse({"parrot": problem.status, "said": said}, problem.status, headers=problem.headers)


router = APIRouter(route_class=KeyedRoute, tags=["Greetings"])


@router.post("/greetings", status_code=201)
def create_greeting(principal: PrincipalDep, body: Greeting) -> Greeting:
    """Greet somebody in the name of a key's user."""
    return Greeting(name=f"{principal.name} greets {body.name}")


def _install(app: FastAPI) -> None:
    app.include_router(router)


PARROT = Dialect(
    name="Parrot", description="Greets.", prefixes=("/parrot", "/api/parrot"), render=render, install=_install
)
WITH_PARROT = Dialects([*DIALECTS, PARROT])
MOUNTS = ("/parrot", "/api/parrot")


@pytest.fixture
def parrot(settings, sessions, dispatcher):
    """A client without a key for a server that speaks the parrot dialect, too."""
    app = create_app(settings.model_copy(update={"max_body_bytes": 1024}), WITH_PARROT)
    with TestClient(app) as client:
        keys = {"keys": KeyCache(sessions, ttl=settings.key_cache_ttl)}
        uses = {"key_uses": KeyUses(sessions, pause=settings.key_use_flush)}
        app.state.resources = dataclasses.replace(app.state.resources, sessions=sessions, **keys, **uses)
        yield client


@pytest.fixture
def bearer(secret):
    return {"Authorization": f"Bearer {secret}"}


@pytest.mark.parametrize("mount", MOUNTS)
def test_its_routes_want_a_key_and_know_its_user(parrot, bearer, factories, mount):
    refused = parrot.post(f"{mount}/greetings", json={"name": "x"})
    assert (refused.status_code, refused.json()["parrot"]) == (401, 401)
    assert refused.headers["www-authenticate"] == "Bearer"
    answer = parrot.post(f"{mount}/greetings", json={"name": "you"}, headers=bearer)
    assert (answer.status_code, answer.json()) == (201, {"name": f"{factories._principal.name} greets you"})


@pytest.mark.parametrize("mount", MOUNTS)
def test_every_error_below_its_prefix_has_its_shape(parrot, bearer, mount):
    refusals = {
        404: parrot.get(f"{mount}/nothing"),
        405: parrot.get(f"{mount}/greetings"),
        400: parrot.post(f"{mount}/greetings", json={}, headers=bearer),
        413: parrot.post(f"{mount}/greetings", content=b" " * 2048, headers=bearer),
    }
    for status, answer in refusals.items():
        assert (answer.status_code, answer.json()["parrot"]) == (status, status)
        assert answer.json()["said"]
    for bare in (mount, f"{mount}/"):
        assert parrot.get(bare).json()["parrot"] == 404


def test_the_other_dialects_answer_as_before(parrot):
    assert parrot.get("/parrots/greetings").json()["type"] == "NotFound"
    assert set(parrot.get("/v1/nothing").json()) == {"detail"}
    assert parrot.get("/api/users").json()["type"] == "Unauthorized"


@pytest.mark.parametrize("mount", MOUNTS)
def test_it_has_a_document_and_pages_of_its_own(parrot, mount):
    document = parrot.get(f"{mount}/openapi.json").json()
    assert (document["info"]["title"], document["info"]["description"]) == ("Parrot", "Greets.")
    assert document["servers"] == [{"url": mount}]
    assert set(document["paths"]) == {"/greetings"}
    (operation,) = document["paths"]["/greetings"].values()
    assert operation["security"] == [{"ApiKey": []}]
    for page in ("docs", "redoc"):
        assert f"{mount}/openapi.json" in parrot.get(f"{mount}/{page}").text
    assert "/greetings" not in str(parrot.get("/openapi.json").json()["paths"])


def test_a_server_without_room_for_a_connection_answers_in_its_shape(committed_settings, secret):
    """The refusal comes from before routing, on the connection itself."""
    settings = committed_settings.model_copy(update={"max_connections": 1})
    with serving(settings, secret=secret, dialects=WITH_PARROT) as served:
        assert served.client.get("/parrot/nothing").json()["parrot"] == 404
        with httpx2.Client(base_url=served.client.base_url) as beyond:
            answer = beyond.get("/parrot/greetings")
        assert (answer.status_code, answer.json()["parrot"]) == (503, 503)


def test_dialects_share_no_prefix_and_one_has_the_root():
    with pytest.raises(ValueError, match="'Parrot' and 'Parrot' have the same prefix '/parrot'"):
        Dialects([*DIALECTS, PARROT, PARROT])
    with pytest.raises(ValueError, match="ROOT"):
        Dialects([PARROT])


def test_the_longest_prefix_wins():
    nested = dataclasses.replace(PARROT, name="Nested", prefixes=("/parrot/nested",))
    dialects = Dialects([DIALECTS.root, PARROT, nested])
    assert dialects.of("/parrot/nested/x") is nested
    assert dialects.of("/parrot/nestedx") is PARROT
    assert dialects.of("/parrot") is PARROT
    assert dialects.of("/parrots") is DIALECTS.root is dialects.of("*")
    assert ROOT in dialects.root.prefixes


@pytest.fixture
def page_dialect():
    """The dialect that the manual shows, as it stands there."""
    (code,) = re.findall(r"```python\n# api/toy/dialect\.py\n(.*?)```", PAGE.read_text(), re.DOTALL)
    module = ModuleType("toy_of_the_manual")
    exec(code, vars(module))  # noqa: S102  # our own page
    return module.TOY


def test_the_dialect_of_the_manual_does_what_the_manual_says(
    committed_settings, factories, page_dialect, committed_sessions
):
    principal, other = factories.principal(), factories.principal()
    with unit_of_work(committed_sessions) as session:

        def secret(of, scope):
            owner = {"organization_id": of.organization_id, "user_id": of.user_id}
            return create_key(session, **owner, name=scope, scope=scope)[1]

        own, reading, strange = (
            {"Authorization": f"Bearer {secret(of, scope)}"}
            for of, scope in (
                (principal, KeyScope.RUN),
                (principal, KeyScope.READ),
                (other, KeyScope.RUN),
            )
        )
    runs = f"/toy/assistants/{factories.assistant(principal).id}/runs"
    # Whoever follows the manual has added it already.
    dialects = Dialects([*(one for one in DIALECTS if one.prefixes != page_dialect.prefixes), page_dialect])
    with serving(committed_settings, secret="none", dialects=dialects) as served:
        client = served.client

        def refused(status, method, path, **request):
            answer = client.request(method, path, **request)
            assert (answer.status_code, list(answer.json())) == (status, ["problems"]), path
            return answer.json()["problems"]

        run = client.post(runs, json={"text": "Hello"}, headers=own)
        assert (run.status_code, run.json()["status"]) == (201, "QUEUED")
        path = f"/toy/runs/{run.json()['id']}"
        assert client.get(path, headers=reading).json() == run.json()
        assert refused(400, "POST", runs, json={"text": 5}, headers=own)[0].startswith("body: text: ")
        refused(403, "POST", runs, json={"text": "x"}, headers=reading)
        for way, below in (("GET", ""), ("POST", "/cancel"), ("GET", "/events")):
            refused(401, way, path + below)
            refused(404, way, path + below, headers=strange)
        assert client.post(f"{path}/cancel", headers=own).json()["status"] == "CANCELLED"
        stream = client.get(f"{path}/events", headers=reading)
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert "CANCELLED" in stream.text.rstrip().rpartition("data: ")[2].upper()
        document = client.get("/toy/openapi.json").json()
    assert {path.removeprefix("/runs/{run_id}") for path in document["paths"]} == {
        *("/assistants/{assistant_id}/runs", "", "/cancel", "/events")
    }
    answers = [operation["responses"] for one in document["paths"].values() for operation in one.values()]
    assert all("default" in each and "422" not in each for each in answers)

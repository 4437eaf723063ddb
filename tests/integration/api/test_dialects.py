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
    return JsonResponse({"toy": problem.status, "said": said}, problem.status, headers=problem.headers)


router = APIRouter(route_class=KeyedRoute, tags=["Greetings"])


@router.post("/greetings", status_code=201)
def create_greeting(principal: PrincipalDep, body: Greeting) -> Greeting:
    """Greet somebody in the name of a key's user."""
    return Greeting(name=f"{principal.name} greets {body.name}")


def _install(app: FastAPI) -> None:
    app.include_router(router)


TOY = Dialect(
    name="Toy", description="Greets.", prefixes=("/toy", "/api/toy"), render=render, install=_install
)
WITH_TOY = Dialects([*DIALECTS, TOY])
MOUNTS = ("/toy", "/api/toy")


@pytest.fixture
def toy(settings, sessions, dispatcher):
    """A client without a key for a server that speaks the toy dialect, too."""
    app = create_app(settings.model_copy(update={"max_body_bytes": 1024}), WITH_TOY)
    with TestClient(app) as client:
        keys = {"keys": KeyCache(sessions, ttl=settings.key_cache_ttl)}
        uses = {"key_uses": KeyUses(sessions, pause=settings.key_use_flush)}
        app.state.resources = dataclasses.replace(app.state.resources, sessions=sessions, **keys, **uses)
        yield client


@pytest.fixture
def bearer(secret):
    return {"Authorization": f"Bearer {secret}"}


@pytest.mark.parametrize("mount", MOUNTS)
def test_its_routes_want_a_key_and_know_its_user(toy, bearer, factories, mount):
    refused = toy.post(f"{mount}/greetings", json={"name": "x"})
    assert (refused.status_code, refused.json()["toy"]) == (401, 401)
    assert refused.headers["www-authenticate"] == "Bearer"
    answer = toy.post(f"{mount}/greetings", json={"name": "you"}, headers=bearer)
    assert (answer.status_code, answer.json()) == (201, {"name": f"{factories._principal.name} greets you"})


@pytest.mark.parametrize("mount", MOUNTS)
def test_every_error_below_its_prefix_has_its_shape(toy, bearer, mount):
    refusals = {
        404: toy.get(f"{mount}/nothing"),
        405: toy.get(f"{mount}/greetings"),
        400: toy.post(f"{mount}/greetings", json={}, headers=bearer),
        413: toy.post(f"{mount}/greetings", content=b" " * 2048, headers=bearer),
    }
    for status, answer in refusals.items():
        assert (answer.status_code, answer.json()["toy"]) == (status, status)
        assert answer.json()["said"]


def test_the_other_dialects_answer_as_before(toy):
    assert toy.get("/toys/greetings").json()["type"] == "NotFound"
    assert set(toy.get("/v1/nothing").json()) == {"detail"}
    assert toy.get("/api/users").json()["type"] == "Unauthorized"


@pytest.mark.parametrize("mount", MOUNTS)
def test_it_has_a_document_and_pages_of_its_own(toy, mount):
    document = toy.get(f"{mount}/openapi.json").json()
    assert (document["info"]["title"], document["info"]["description"]) == ("Toy", "Greets.")
    assert document["servers"] == [{"url": mount}]
    assert set(document["paths"]) == {"/greetings"}
    (operation,) = document["paths"]["/greetings"].values()
    assert operation["security"] == [{"ApiKey": []}]
    for page in ("docs", "redoc"):
        assert f"{mount}/openapi.json" in toy.get(f"{mount}/{page}").text
    assert "/greetings" not in str(toy.get("/openapi.json").json()["paths"])


def test_a_server_without_room_for_a_connection_answers_in_its_shape(committed_settings, secret):
    """The refusal comes from before routing, on the connection itself."""
    settings = committed_settings.model_copy(update={"max_connections": 1})
    with serving(settings, secret=secret, dialects=WITH_TOY) as served:
        assert served.client.get("/toy/nothing").json()["toy"] == 404
        with httpx2.Client(base_url=served.client.base_url) as beyond:
            answer = beyond.get("/toy/greetings")
        assert (answer.status_code, answer.json()["toy"]) == (503, 503)


def test_dialects_share_no_prefix_and_one_has_the_root():
    with pytest.raises(ValueError, match="same prefix"):
        Dialects([*DIALECTS, TOY, TOY])
    with pytest.raises(ValueError, match="ROOT"):
        Dialects([TOY])


def test_the_longest_prefix_wins():
    nested = dataclasses.replace(TOY, name="Nested", prefixes=("/toy/nested",))
    dialects = Dialects([DIALECTS.root, TOY, nested])
    assert dialects.of("/toy/nested/x") is nested
    assert dialects.of("/toy/nestedx") is TOY
    assert dialects.of("/toys") is DIALECTS.root is dialects.of("*")
    assert ROOT in dialects.root.prefixes


@pytest.fixture
def page_dialect():
    """The dialect that the manual shows, as it stands there."""
    (code,) = re.findall(r"```python\n# api/toy/dialect\.py\n(.*?)```", PAGE.read_text(), re.DOTALL)
    module = ModuleType("toy_of_the_manual")
    exec(code, vars(module))  # noqa: S102  # our own page
    return module.TOY


def test_the_dialect_of_the_manual_creates_runs_and_shows_them(
    committed_settings, factories, page_dialect, committed_sessions
):
    principal = factories.principal()
    with unit_of_work(committed_sessions) as session:
        owner = {"organization_id": principal.organization_id, "user_id": principal.user_id}
        secrets = {
            scope: create_key(session, **owner, name=scope, scope=scope)[1]
            for scope in (KeyScope.RUN, KeyScope.READ)
        }
    path = f"/toy/assistants/{factories.assistant(principal).id}/runs"
    dialects = Dialects([*DIALECTS, page_dialect])
    with serving(committed_settings, secret=secrets[KeyScope.RUN], dialects=dialects) as served:
        run = served.client.post(path, json={"text": "Hello"})
        assert (run.status_code, run.json()["status"]) == (201, "QUEUED")
        assert served.client.get(f"/toy/runs/{run.json()['id']}").json() == run.json()
        for status, request in (
            (400, {"json": {"text": 5}}),
            (403, {"json": {"text": "x"}, "headers": {"Authorization": f"Bearer {secrets[KeyScope.READ]}"}}),
            (401, {"json": {"text": "x"}, "headers": {"Authorization": "Bearer none"}}),
        ):
            refused = served.client.post(path, **request)
            assert (refused.status_code, list(refused.json())) == (status, ["problems"])
        document = served.client.get("/toy/openapi.json").json()
    assert set(document["paths"]) == {"/assistants/{assistant_id}/runs", "/runs/{run_id}"}

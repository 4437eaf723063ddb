"""The Griptape Cloud dialect, all of whose routes are below `/api`."""

from typing import Final

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from api.dialect import ROOT, Dialect
from api.griptape import (
    api_keys,
    assistants,
    deployments,
    events,
    messages,
    organizations,
    rules,
    rulesets,
    run_lists,
    runs,
    structure_reports,
    structure_runs,
    structures,
    threads,
    unavailable,
    users,
    webhooks,
)
from api.griptape.errors import render
from api.griptape.report_route import body_rules

DESCRIPTION: Final = """
Runs assistants and structures on your own machines. Every request carries an API key as
`Authorization: Bearer <key>`. An error has the form `{"type", "errors"}`.
"""

RESOURCES: Final = (
    # A request is matched against these in order, so those with the most requests are first.
    runs,
    events,
    run_lists,
    structure_runs,
    assistants,
    users,
    api_keys,
    organizations,
    structures,
    deployments,
    structure_reports,
    webhooks,
    threads,
    messages,
    rulesets,
    rules,
    unavailable,
)


def operation_id(route: APIRoute) -> str:
    """Return an endpoint's name in the contract's spelling: `ListAssistantRuns`."""
    return "".join(word.capitalize() for word in route.name.split("_"))


ROUTER: Final = APIRouter(generate_unique_id_function=operation_id)
for _resource in RESOURCES:
    ROUTER.include_router(_resource.router, prefix="/api")


def _install(app: FastAPI) -> None:
    # Not `include_router`: it analyses every endpoint anew, and each level of inclusion matches once more.
    app.router.routes.extend(ROUTER.routes)


GRIPTAPE: Final = Dialect(
    name="Runyard",
    description=DESCRIPTION,
    prefixes=(ROOT,),
    render=render,
    install=_install,
    body_rules=body_rules,
)

"""Routes of resources that Runyard does not have: a 501, never an empty result."""

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, Response

from api.errors import Problem, problem
from api.key_scopes import takes
from api.routing import UnservedRoute
from shared.models import KeyScope

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")

Answer = Callable[[str, str], Response]
"""Makes the answer of a resource, and of what is below it."""


def router_of(resources: Iterable[str], answer: Answer) -> APIRouter:
    """Routes of resources, and of everything below them, in no document."""
    router = APIRouter(route_class=UnservedRoute, include_in_schema=False)
    for resource in resources:
        _add(router, resource, answer)
    return router


def not_here(resource: str) -> Problem:
    """That a resource does not exist here."""
    name = resource.rpartition("/")[2].replace("-", " ").replace("_", " ")
    return problem(HTTPStatus.NOT_IMPLEMENTED, f"Runyard does not have {name} yet.")


def _add(router: APIRouter, resource: str, answer: Answer) -> None:
    @takes(KeyScope.READ)
    async def unserved(path: str = "") -> Response:
        return answer(resource, path)

    for suffix in ("", "/{path:path}"):
        router.add_api_route(f"/{resource}{suffix}", unserved, methods=list(METHODS))

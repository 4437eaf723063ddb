"""Resources of the dialect that do not exist here yet answer 501, never as if nothing were found."""

from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, Response
from starlette.responses import PlainTextResponse

from api.errors import problem
from api.griptape.errors import render
from api.routing import UnservedRoute

UNAVAILABLE: Final = (
    "buckets",
    "chat",
    "data-connectors",
    "images",
    "knowledge-bases",
    "models",
    "retrievers",
    "secrets",
    "tools",
)
METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")

router = APIRouter(route_class=UnservedRoute, include_in_schema=False)


def _answer(resource: str, path: str = "") -> Response:
    """Say that a resource does not exist here.

    What is asked of a knowledge base is refused in plain text: the framework's driver looks at no status, and
    reads any JSON object without `entries` as "no results" (contract: griptape §15).
    """
    message = f"Runyard does not have {resource.replace('-', ' ')} yet."
    if resource == "knowledge-bases" and path.endswith(("/query", "/search")):
        return PlainTextResponse(message, HTTPStatus.NOT_IMPLEMENTED)
    return render(problem(HTTPStatus.NOT_IMPLEMENTED, message))


def _add(resource: str) -> None:
    async def unavailable(path: str = "") -> Response:
        return _answer(resource, path)

    for suffix in ("", "/{path:path}"):
        router.add_api_route(f"/{resource}{suffix}", unavailable, methods=list(METHODS))


for name in UNAVAILABLE:
    _add(name)

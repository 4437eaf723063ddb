"""Resources of the dialect that do not exist here yet answer 501, never as if nothing were found."""

from typing import Final

from fastapi import Response
from starlette.responses import PlainTextResponse

from api.griptape.errors import render
from api.unserved import not_here, router_of

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

UNCHECKED: Final = {"buckets": ("/assets",), "knowledge-bases": ("/query", "/search")}
"""What the framework's drivers ask for without a look at the status."""


def _answer(resource: str, path: str) -> Response:
    """Say that a resource does not exist here; in plain text where any JSON is read as "no results"."""
    problem = not_here(resource)
    if path.endswith(UNCHECKED.get(resource, ())):
        return PlainTextResponse(problem.faults[0].message, problem.status)
    return render(problem)


router = router_of(UNAVAILABLE, _answer)

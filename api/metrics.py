"""`/metrics` on the API's own port: for scrapers with the operator's token, if the settings want it there."""

from typing import Final

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from shared.errors import UnauthenticatedError
from shared.processes.exporter import PATH, Answers, is_allowed
from shared.processes.metrics import Source

_THREADS: Final = 1  # scrapers that come together share an answer


def router_of(source: Source, *, token: str) -> APIRouter:
    """Make the route that shows a source.

    Args:
        token: what scrapers have to send as a bearer token. Keys of callers are no such tokens.
    """
    router = APIRouter()
    answers = Answers(source)
    thread = CapacityLimiter(_THREADS)

    @router.get(PATH, include_in_schema=False)
    async def get_metrics(request: Request) -> Response:
        """Show what the processes of this API count."""
        if not is_allowed(request.headers.get("authorization", ""), token):
            raise UnauthenticatedError
        body = await to_thread.run_sync(answers.get, limiter=thread)
        return Response(body, media_type=CONTENT_TYPE_LATEST)

    return router

"""Probes: whether the process lives, and whether it can serve. They need no key."""

from http import HTTPStatus

from fastapi import APIRouter, Request, Response

from api import readiness
from api.resources import Resources
from api.responses import JsonResponse

router = APIRouter(prefix="/health", tags=["Health"])


@router.get("/live")
async def get_liveness() -> dict[str, str]:
    """Whether the process answers at all."""
    return {"status": "live"}


@router.get(
    "/ready",
    response_model=dict[str, str],
    responses={503: {"model": dict[str, str], "description": "PostgreSQL is away or not migrated."}},
)
async def get_readiness(request: Request) -> Response:
    """Whether requests can be served. Redis is reported, not needed: runs are accepted without it."""
    resources: Resources = request.app.state.resources
    database = await resources.readiness.database()
    is_ready = database == readiness.READY
    return JsonResponse(
        {
            "status": readiness.READY if is_ready else readiness.UNAVAILABLE,
            "database": database,
            "redis": readiness.READY if resources.subscriber.is_connected else readiness.UNAVAILABLE,
        },
        HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE,
    )

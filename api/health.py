"""Probes: whether the process lives, and whether it can serve. They need no key."""

from http import HTTPStatus

from fastapi import APIRouter, Request, Response

from api import readiness
from api.resources import Resources
from api.responses import JsonResponse

router = APIRouter(prefix="/health", tags=["Health"])


@router.head("/live", include_in_schema=False)
@router.get(
    "/live",
    response_model=dict[str, str],
    responses={503: {"model": dict[str, str], "description": "The process is to be replaced."}},
)
async def get_liveness(request: Request) -> Response:
    """Whether the process answers at all, and has lost nothing that it lives by."""
    resources: Resources = request.app.state.resources
    if dead := resources.vitals.dead:
        broken = {"status": "broken", "lost": ", ".join(dead)}
        return JsonResponse(broken, HTTPStatus.SERVICE_UNAVAILABLE)
    return JsonResponse({"status": "live"}, HTTPStatus.OK)


@router.head("/ready", include_in_schema=False)
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

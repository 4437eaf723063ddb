"""Probes of liveness and readiness. They need no key."""

from http import HTTPStatus

from fastapi import APIRouter, Request, Response

from api import readiness
from api.resources import Resources
from api.streaming.responses import JsonResponse

router = APIRouter(prefix="/health", tags=["Health"])


@router.head("/live", include_in_schema=False)
@router.get(
    "/live",
    operation_id="GetLiveness",
    response_model=dict[str, str],
    responses={
        503: {"model": dict[str, str], "description": "A background task has died. Replace the process."}
    },
)
async def get_liveness(request: Request) -> Response:
    """Check that the server process and all its background tasks live."""
    resources: Resources = request.app.state.resources
    if dead := resources.vitals.dead:
        broken = {"status": "broken", "lost": ", ".join(dead)}
        return JsonResponse(broken, HTTPStatus.SERVICE_UNAVAILABLE)
    return JsonResponse({"status": "live"}, HTTPStatus.OK)


@router.head("/ready", include_in_schema=False)
@router.get(
    "/ready",
    operation_id="GetReadiness",
    response_model=dict[str, str],
    responses={
        503: {
            "model": dict[str, str],
            "description": "PostgreSQL is unavailable or its schema is not migrated.",
        }
    },
)
async def get_readiness(request: Request) -> Response:
    """Check that requests can be served. Redis is reported only: runs are accepted without it."""
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

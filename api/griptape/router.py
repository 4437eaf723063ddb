"""The routes of the Griptape Cloud dialect, all under `/api`."""

from fastapi import APIRouter

from api.griptape import assistants, events, runs

router = APIRouter(prefix="/api")
router.include_router(assistants.router)
router.include_router(runs.router)
router.include_router(events.router)

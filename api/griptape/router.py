"""The routes of the Griptape Cloud dialect, all under `/api`."""

from fastapi import APIRouter

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

RESOURCES = (
    users,
    api_keys,
    organizations,
    assistants,
    run_lists,
    runs,
    events,
    structures,
    deployments,
    structure_runs,
    structure_reports,
    webhooks,
    threads,
    messages,
    rulesets,
    rules,
    unavailable,
)

router = APIRouter(prefix="/api")
for resource in RESOURCES:
    router.include_router(resource.router)

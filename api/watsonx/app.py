"""The dialect as an application of its own, with its errors and its document, under two prefixes."""

import importlib.metadata
from typing import Final

from fastapi import FastAPI

from api import errors
from api.watsonx import agents, runs, thread_messages, threads, unavailable
from api.watsonx.errors import render

PREFIXES: Final = ("/api/v1", "/v1")
BELOW: Final = "/orchestrate"


def create_watsonx() -> FastAPI:
    """Make the application; who mounts it gives it its resources."""
    app = FastAPI(
        title="Runyard: watsonx Orchestrate",
        summary="Self-hosted execution of assistant runs.",
        version=importlib.metadata.version("runyard"),
        redirect_slashes=False,
        openapi_url=None,  # who mounts it adds the document
    )
    errors.install(app, lambda _path: render)
    for prefix in ("", BELOW):
        app.include_router(unavailable.router, prefix=prefix)
    for resource in (runs, agents, threads, thread_messages):
        app.include_router(resource.router)
    for resource in (threads, thread_messages):
        # Clients of a remote instance ask for everything below this prefix (contract: watsonx §6.1).
        app.include_router(resource.router, prefix=BELOW, include_in_schema=False)
    return app

"""The watsonx Orchestrate dialect, below `/v1` and `/api/v1`."""

from typing import Final

from fastapi import FastAPI

from api.dialect import Dialect
from api.watsonx import agents, runs, thread_messages, threads, unavailable
from api.watsonx.errors import render

DESCRIPTION: Final = """
Runs assistants, here named agents, on your own machines. Every request carries an API key as
`Authorization: Bearer <key>`. An error has the form `{"detail"}`.
"""

BELOW: Final = "/orchestrate"


def _install(app: FastAPI) -> None:
    for prefix in ("", BELOW):
        app.include_router(unavailable.router, prefix=prefix)
    for resource in (runs, agents, threads, thread_messages):
        app.include_router(resource.router)
    for resource in (threads, thread_messages):
        # Clients of a remote instance ask for everything below this prefix.
        app.include_router(resource.router, prefix=BELOW, include_in_schema=False)


WATSONX: Final = Dialect(
    name="Runyard: watsonx Orchestrate",
    description=DESCRIPTION,
    prefixes=("/api/v1", "/v1"),
    render=render,
    install=_install,
)

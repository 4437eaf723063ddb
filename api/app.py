"""The ASGI application: its resources, its dialects, and how they answer errors."""

import importlib.metadata
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from api import errors, health
from api.callers import Callers, Proxies
from api.cross_origin import CrossOrigin, Origins
from api.documents import Document
from api.griptape.errors import render
from api.griptape.report_route import body_rules
from api.griptape.router import router as griptape_router
from api.middleware import BodyLimit, NormalPaths, RequestLog
from api.resources import open_resources
from api.watsonx import errors as watsonx_errors
from api.watsonx.app import PREFIXES, create_watsonx
from shared.settings import Settings
from shared.terms import Terms

DESCRIPTION = """
Runs assistants for you, on your own machines. Every request carries an API key as
`Authorization: Bearer <key>`; errors are `{"type", "errors"}`.
"""


def create_app(settings: Settings) -> FastAPI:
    """Make the application; its lifespan opens what it needs and closes it again."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with open_resources(settings) as resources:
            app.state.resources = resources
            yield

    app = FastAPI(
        title="Runyard",
        summary="Self-hosted execution of assistant runs.",
        description=DESCRIPTION,
        version=importlib.metadata.version("runyard"),
        lifespan=lifespan,
        generate_unique_id_function=_operation_id,
        redirect_slashes=False,  # `NormalPaths` has seen to it, without a second request
        openapi_url=None,  # `Document` adds it, made beside the event loop
        middleware=[
            Middleware(NormalPaths, root_path=settings.root_path),
            Middleware(Callers, proxies=Proxies.of(settings)),
            Middleware(CrossOrigin, origins=Origins.of(settings)),
            Middleware(RequestLog, render=render_by_path),
            Middleware(BodyLimit, rule_of=body_rules(settings), render=render_by_path),
        ],
    )
    app.state.terms = Terms.of(settings)
    errors.install(app, render_of)
    app.include_router(health.router)
    app.include_router(griptape_router)
    watsonx = create_watsonx()
    watsonx.state = app.state
    for prefix in PREFIXES:
        app.mount(prefix, watsonx)
    app.state.documents = (
        Document(app, root_path=settings.root_path),
        Document(watsonx, root_path=settings.root_path, mounts=PREFIXES),
    )
    return app


def make_documents(app: FastAPI) -> None:
    """Make what describes the API, before anybody asks for it."""
    documents: Sequence[Document] = app.state.documents
    for document in documents:
        document.make()


def render_of(path: str) -> errors.Render:
    """The way to answer in the dialect of a path."""
    is_watsonx = any(path.startswith(f"{prefix}/") for prefix in PREFIXES)
    return watsonx_errors.render if is_watsonx else render


def render_by_path(problem: errors.Problem) -> ASGIApp:
    """Answer with a problem in the dialect of the path that was asked for."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await render_of(scope["path"])(problem)(scope, receive, send)

    return answer


def _operation_id(route: APIRoute) -> str:
    """The endpoint's name in the contract's spelling: `ListAssistantRuns`."""
    return "".join(word.capitalize() for word in route.name.split("_"))

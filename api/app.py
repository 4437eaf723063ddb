"""The ASGI application: its resources, its dialects and their OpenAPI documents."""

import importlib.metadata
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from api import errors, health
from api.cross_origin import CrossOrigin, Origins
from api.dialect import Dialect, Dialects
from api.dialects import DIALECTS
from api.documents import Document
from api.metrics import router_of
from api.middleware import BodyLimit, NormalPaths, RequestIds, RequestLog
from api.resources import open_resources
from api.traffic.callers import Callers, Proxies
from shared import tracing
from shared.processes.exporter import token_of
from shared.processes.metrics import Source
from shared.settings import Settings

NO_TELEMETRY: Final[TelemetryConfig] = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "auto_configure": False,
}
"""FastAPI's own would look for its providers at each request, and would show what ours keeps to itself."""


def create_app(
    settings: Settings, dialects: Dialects = DIALECTS, *, metrics: Source | None = None
) -> FastAPI:
    """Make the application of some dialects; its lifespan opens the resources and closes them.

    Args:
        metrics: what `/metrics` shows, if the settings want it there.
    """
    dialects = dialects.served_by(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        tracing.start(settings, process="api")
        try:
            async with open_resources(settings) as resources:
                app.state.resources = resources
                yield
        finally:
            await run_in_threadpool(tracing.close)

    middleware = [
        Middleware(RequestIds),
        Middleware(NormalPaths, root_path=settings.root_path),
        Middleware(Callers, proxies=Proxies.of(settings)),
        Middleware(CrossOrigin, origins=Origins.of(settings)),
        Middleware(RequestLog, render=dialects.render, joins_traces=settings.traces_callers != tracing.LINK),
        Middleware(BodyLimit, rule_of=dialects.body_rules(settings), render=dialects.render),
    ]
    mounted = {dialect: _app_of(dialect, dialects) for dialect in dialects.mounted}
    # Before the root's routes, of which a request for another dialect would be held against each.
    routes: list[BaseRoute] = []
    for prefix, dialect in dialects.by_prefix.items():
        if dialect.home:
            routes.append(Route(prefix, partial(_go_home, settings.root_path + prefix + dialect.home)))
        routes.append(Mount(prefix, mounted[dialect]))
    app = _app_of(dialects.root, dialects, lifespan=lifespan, middleware=middleware, routes=routes)
    app.state.dialects = dialects
    app.state.terms = settings.terms
    app.state.settings = settings
    app.include_router(health.router)
    if metrics is not None and settings.metrics_on_api and (token := token_of(settings)):
        app.include_router(router_of(metrics, token=token))
    for one in mounted.values():
        one.state = app.state
    for dialect, one in {dialects.root: app, **mounted}.items():
        if dialect.is_documented:
            Document(one, root_path=settings.root_path, mounts=dialect.prefixes).add_routes()
    return app


async def _go_home(home: str, _request: Request) -> Response:
    return RedirectResponse(home)


def _app_of(dialect: Dialect, dialects: Dialects, **more: Any) -> FastAPI:
    app = FastAPI(
        title=dialect.name,
        summary="Self-hosted execution of assistant runs.",
        description=dialect.description,
        version=importlib.metadata.version("runyard"),
        redirect_slashes=False,  # `NormalPaths` has seen to it, without a second request
        telemetry=NO_TELEMETRY,
        openapi_url=None,  # `Document` adds it, made beside the event loop
        **more,
    )
    errors.install(app, dialects.render_of)
    dialect.install(app)
    return app

"""OpenAPI documents, each made once and beside the event loop, and the pages that show them."""

import re
import threading
from collections.abc import Sequence
from functools import lru_cache
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import orjson
from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from api.streaming.responses import InPieces

OPENAPI: Final = "/openapi.json"
DOCS: Final = "/docs"
REDOC: Final = "/redoc"

UI_PACKAGE: Final = "fastapi_offline"
"""The package that carries the files of Swagger UI and ReDoc; nothing of it is imported."""

UI_FILES: Final = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "redoc.standalone.js": "text/javascript",
}
NO_IMAGE: Final = "data:,"
LOGO: Final = re.compile(rb"https://[a-z.]+/redoc/logo-mini\.svg")
"""An image that the page of ReDoc would load from elsewhere."""

UI_SETTINGS: Final = {"validatorUrl": None}  # else a page that others can reach asks a service elsewhere
A_DAY: Final = "max-age=86400"


class Document:
    """The OpenAPI document of an application, and its pages of Swagger UI and ReDoc; none needs a key.

    It is one document for each path that the application is mounted at, as they name it. The first request
    has it made, once, by a thread of its own: a process that starts has requests to answer.
    """

    def __init__(self, app: FastAPI, *, root_path: str, mounts: Sequence[str]) -> None:
        """Describe a document that nothing is known of yet.

        Args:
            app: the application, complete when the document is made.
            root_path: the path below which a proxy shows the API.
            mounts: the paths that the application is mounted at.
        """
        self._app = app
        self._root_path = root_path
        self._mounts = mounts
        self._bodies: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._thread = CapacityLimiter(1)

    def add_routes(self) -> None:
        """Add the document and its pages to the application."""
        for path, answer in {
            OPENAPI: self._show,
            DOCS: self._show_swagger,
            REDOC: self._show_redoc,
            f"{DOCS}/{{name}}": self._show_file,
        }.items():
            self._app.add_route(path, answer, include_in_schema=False)

    def _make(self) -> None:
        """Make the document, which takes a good part of a second, unless that has been done."""
        with self._lock:
            if self._bodies:
                return
            schema = self._app.openapi()
            servers = {mount: self._root_path + mount for mount in self._mounts}
            self._bodies = {
                mount: orjson.dumps({**schema, "servers": [{"url": server}]} if server else schema)
                for mount, server in servers.items()
            }
            self._app.openapi_schema = None  # some megabytes, which FastAPI would keep

    async def _show(self, request: Request) -> Response:
        """Answer with the document; requests before it is made wait, in a queue that holds one thread."""
        if not self._bodies:
            await to_thread.run_sync(self._make, limiter=self._thread)
        return InPieces(self._bodies[request.scope.get("root_path", "")], media_type="application/json")

    async def _show_swagger(self, request: Request) -> Response:
        below = self._below(request)
        return get_swagger_ui_html(
            openapi_url=below + OPENAPI,
            title=f"{self._app.title} - Swagger UI",
            swagger_js_url=f"{below}{DOCS}/swagger-ui-bundle.js",
            swagger_css_url=f"{below}{DOCS}/swagger-ui.css",
            swagger_favicon_url=NO_IMAGE,
            swagger_ui_parameters=UI_SETTINGS,
        )

    async def _show_redoc(self, request: Request) -> Response:
        below = self._below(request)
        return get_redoc_html(
            openapi_url=below + OPENAPI,
            title=f"{self._app.title} - ReDoc",
            redoc_js_url=f"{below}{DOCS}/redoc.standalone.js",
            redoc_favicon_url=NO_IMAGE,
            with_google_fonts=False,
        )

    async def _show_file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in UI_FILES:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        content = await to_thread.run_sync(_ui_file, name, limiter=self._thread)
        return InPieces(content, media_type=UI_FILES[name], headers={"Cache-Control": A_DAY})

    def _below(self, request: Request) -> str:
        """Return the path below which the caller sees the application."""
        below: str = self._root_path + request.scope.get("root_path", "")
        return below


@lru_cache(maxsize=len(UI_FILES))
def _ui_file(name: str) -> bytes:
    """Read a file of Swagger UI or ReDoc, once; together they have less than three megabytes."""
    package = find_spec(UI_PACKAGE)
    places = (package and package.submodule_search_locations) or []
    return LOGO.sub(NO_IMAGE.encode(), Path(*places, "static", name).read_bytes())

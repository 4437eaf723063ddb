"""What describes the API: OpenAPI documents, made once, beside the event loop, and pages that show them."""

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
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from api.responses import InPieces

OPENAPI: Final = "/openapi.json"
DOCS: Final = "/docs"

UI_PACKAGE: Final = "fastapi_offline"
"""The package that carries the files of Swagger UI; nothing of it is imported."""

UI_FILES: Final = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
NO_ICON: Final = "data:,"
UI_SETTINGS: Final = {"validatorUrl": None}  # else a page that others can reach asks a service elsewhere
A_DAY: Final = "max-age=86400"


class Document:
    """The OpenAPI document of an application, and the page of Swagger UI that shows it; neither needs a key.

    It is one document for each path that the application is mounted at, as they name it.
    """

    def __init__(self, app: FastAPI, *, root_path: str, mounts: Sequence[str] = ("",)) -> None:
        """Add them to an application; nothing is made yet.

        Args:
            app: what is described, whole when the document is made.
            root_path: the path below which a proxy shows the API.
            mounts: the paths that the application is mounted at.
        """
        self._app = app
        self._root_path = root_path
        self._mounts = mounts
        self._bodies: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._thread = CapacityLimiter(1)
        app.add_route(OPENAPI, self._show, include_in_schema=False)
        app.add_route(DOCS, self._show_page, include_in_schema=False)
        app.add_route(f"{DOCS}/{{name}}", self._show_file, include_in_schema=False)

    def make(self) -> None:
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

    async def _show(self, request: Request) -> Response:
        """Answer with the document; who comes before it is made waits, in a queue that holds one thread."""
        if not self._bodies:
            await to_thread.run_sync(self.make, limiter=self._thread)
        return InPieces(self._bodies[request.scope.get("root_path", "")], media_type="application/json")

    async def _show_page(self, request: Request) -> Response:
        below = self._root_path + request.scope.get("root_path", "")
        script, style = (f"{below}{DOCS}/{name}" for name in UI_FILES)
        return get_swagger_ui_html(
            openapi_url=below + OPENAPI,
            title=f"{self._app.title} - Swagger UI",
            swagger_js_url=script,
            swagger_css_url=style,
            swagger_favicon_url=NO_ICON,
            swagger_ui_parameters=UI_SETTINGS,
        )

    async def _show_file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in UI_FILES:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        content = await to_thread.run_sync(_ui_file, name, limiter=self._thread)
        return InPieces(content, media_type=UI_FILES[name], headers={"Cache-Control": A_DAY})


@lru_cache(maxsize=len(UI_FILES))
def _ui_file(name: str) -> bytes:
    """A file of Swagger UI, read once; together they have less than two megabytes."""
    package = find_spec(UI_PACKAGE)
    places = (package and package.submodule_search_locations) or []
    return Path(*places, "static", name).read_bytes()

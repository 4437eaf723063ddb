"""Pages of other origins: which of them a browser lets call the API, and what of an answer they see."""

from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.setting_types import names_of
from shared.settings import Settings

METHODS: Final = "GET, HEAD, POST, PATCH, DELETE"

SHOWN: Final = (
    "X-Request-ID, X-Run-ID, X-Runyard-Ignored, X-Runyard-Next-Cursor, Preference-Applied, Retry-After,"
    " Location, Allow, WWW-Authenticate"
)
"""Headers of answers that pages see, beside those that they always do."""

MAX_AGE: Final = "600"  # seconds for which a browser remembers what it has asked

ORIGIN: Final = b"origin"

RawHeaders = Iterable[tuple[bytes, bytes]]


class Origins:
    """The origins that are allowed; without any, no answer has a CORS header.

    Keys come in a header that a page sets by itself, so browsers are not told to send credentials of
    their own: the cookie of the console is sent to no page of another site.
    """

    def __init__(self, origins: Iterable[str]) -> None:
        self._allowed = frozenset(origin.encode() for origin in origins)

    @classmethod
    def of(cls, settings: Settings) -> "Origins":
        return cls(names_of(settings.cors_origins))

    def headers_for(self, request: RawHeaders) -> dict[str, str]:
        """What any answer to a request says to browsers, an error, too; `Vary` is for caches in between."""
        if not self._allowed:
            return {}
        origin = self._origin_of(request)
        if origin not in self._allowed:
            return {"Vary": "Origin"}
        return {
            "Access-Control-Allow-Origin": origin.decode(),
            "Access-Control-Expose-Headers": SHOWN,
            "Vary": "Origin",
        }

    def find_preflight(self, scope: Scope) -> Response | None:
        """The answer to a browser that asks before it lets a page call; None if this is no such question.

        It needs no key, as browsers send none with it, and tells nothing of what is there. Any header may
        be sent: what the API does not know, it does not read.
        """
        if scope["method"] != "OPTIONS":
            return None
        headers = Headers(scope=scope)
        is_question = "access-control-request-method" in headers
        if not is_question or self._origin_of(scope["headers"]) not in self._allowed:
            return None
        granted = {
            **self.headers_for(scope["headers"]),
            "Access-Control-Allow-Methods": METHODS,
            "Access-Control-Max-Age": MAX_AGE,
            "Vary": "Origin, Access-Control-Request-Headers",
        }
        if wanted := headers.get("access-control-request-headers"):
            granted["Access-Control-Allow-Headers"] = wanted
        return Response(status_code=HTTPStatus.NO_CONTENT, headers=granted)

    @staticmethod
    def _origin_of(request: RawHeaders) -> bytes:
        return next((value for name, value in request if name == ORIGIN), b"")


@dataclass(frozen=True, slots=True)
class CrossOrigin:
    """Tells browsers of the origins that are allowed, whatever the answer is."""

    app: ASGIApp
    origins: Origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        app = self.origins.find_preflight(scope) or self.app
        told = self.origins.headers_for(scope["headers"]) if app is self.app else {}

        async def tell(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *encoded(told)]
            await send(message)

        await app(scope, receive, tell if told else send)


def encoded(headers: MutableMapping[str, str] | dict[str, str]) -> list[tuple[bytes, bytes]]:
    """Headers as ASGI wants them."""
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]

"""The route class of every dialect: it knows the caller before it reads a body, and reads it as JSON."""

from collections.abc import Callable, Coroutine, Iterable
from contextlib import AsyncExitStack
from typing import Any, Final

import structlog
from anyio import to_thread
from fastapi.routing import APIRoute
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import Response

from api import key_scopes, run_keys
from api.auth import authenticate, authenticate_webhook
from api.middleware import LOGGED_PATH, BodyRule
from api.requests.json_body import read_json
from api.requests.known_keys import Ignored, KnownKeys, Unknown, prefers_strictness, unread_body
from api.traffic.lanes import Lanes
from shared import tracing
from shared.db import is_lost_race, words_of

LARGE: Final = 65_536  # bytes; a larger body is parsed beside the event loop

_JSON: Final = (b"content-type", b"application/json")

_UNITS_OF_WORK: Final = "fastapi_function_astack"
"""Where FastAPI keeps what ends with an endpoint's function, such as its transaction."""

log = structlog.get_logger(__name__)


class JsonRequest(Request):
    """A request whose body has been read as JSON, whatever Content-Type it came with."""

    def __init__(self, request: Request, body: bytes, value: Any) -> None:
        headers = [header for header in request.scope["headers"] if header[0] != _JSON[0]]
        super().__init__({**request.scope, "headers": [*headers, _JSON]}, request.receive)
        self._read = body
        self._value = value

    async def body(self) -> bytes:
        return self._read

    async def json(self) -> Any:
        return self._value


class KeyedRoute(APIRoute):
    """A route for bearers of a key: without one nothing is read, parsed or looked up.

    A body is read when there is room for it among all that are held at once.
    """

    authenticate = staticmethod(authenticate)
    takes_anything = False  # a body that the endpoint reads by itself

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()
        has_body = self.takes_anything or self.body_field is not None
        keys = self.keys = KnownKeys.of(
            self.dependant, None if self.body_field is None else self.body_field.field_info.annotation
        )

        async def keyed(request: Request) -> Response:
            principal = request.state.principal = await self.authenticate(request)
            structlog.contextvars.bind_contextvars(organization_id=str(principal.organization_id))
            tracing.admit(principal.tenant)
            run_keys.check(principal, self.endpoint, request.path_params)
            key_scopes.check(principal, self.endpoint, request.method)
            self.tell(request, keys.unknown_in_query(request.query_params))
            if not has_body:
                self.tell(request, unread_body(request.headers))
                return await _at_most_twice(answer, request)
            lanes: Lanes = request.app.state.resources.lanes
            weight = lanes.weight_of(request.headers, BodyRule.of(request.scope).limit)
            async with lanes.bodies.admit(principal.tenant, weight):
                return await _at_most_twice(answer, await self.read(request, lanes))

        return keyed

    async def read(self, request: Request, lanes: Lanes) -> JsonRequest:
        """Read a body as JSON; a large one beside the event loop, and with no connection held."""
        body = await _bytes(request)
        if len(body) > LARGE:
            value = await to_thread.run_sync(self._parsed, request, body, limiter=lanes.parsers)
        else:
            value = self._parsed(request, body) if body else None
        return JsonRequest(request, body, value)

    def _parsed(self, request: Request, body: bytes) -> Any:
        value = read_json(body)
        self.tell(request, self.keys.body.unknown(value, ("body",)))
        return value

    def tell(self, request: Request, unknown: Iterable[Unknown]) -> None:
        """Note what of a request means nothing here, for its answer and its line in the log.

        Raises:
            RequestValidationError: its caller prefers to be refused, or it is nearly something that matters.
        """
        state = request.state
        ignored = state.ignored = getattr(state, "ignored", None) or Ignored()
        is_strict = state.is_strict = prefers_strictness(request.headers)
        ignored.add(unknown)
        ignored.refuse(is_strict=is_strict)


class UnservedRoute(KeyedRoute):
    """A route of something that does not exist here: of its keys nothing is known."""

    def tell(self, request: Request, unknown: Iterable[Unknown]) -> None:
        """Say nothing: the answer says that nothing is there."""


class WebhookRoute(KeyedRoute):
    """A route whose key may also be in the query."""

    authenticate = staticmethod(authenticate_webhook)
    takes_anything = True

    async def read(self, request: Request, lanes: Lanes) -> JsonRequest:
        """Read a body as it is; its endpoint knows what to make of it."""
        del lanes
        return JsonRequest(request, await _bytes(request), None)


async def _at_most_twice(
    answer: Callable[[Request], Coroutine[Any, Any, Response]], request: Request
) -> Response:
    """Answer a request; once more if PostgreSQL ended its transaction in favour of another's.

    The first transaction has left its connection before the second begins, and nothing that it wanted
    done after its commit is done.
    """
    try:
        return await _answered(answer, request)
    except SQLAlchemyError as error:
        if not is_lost_race(error):
            raise
        log.info("request begun anew", path=request.scope["path"][:LOGGED_PATH], cause=words_of(error))
    return await _answered(answer, request)


async def _answered(answer: Callable[[Request], Coroutine[Any, Any, Response]], request: Request) -> Response:
    async with AsyncExitStack() as units_of_work:
        request.scope[_UNITS_OF_WORK] = units_of_work
        return await answer(request)


async def _bytes(request: Request) -> bytes:
    """The body, of which the request itself keeps nothing for the rest of its life."""
    return b"".join([part async for part in request.stream()])

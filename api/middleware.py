"""Middleware of every request: path, body size, request id and access log."""

import asyncio
import re
import time
import uuid
from collections.abc import Callable, Iterable, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import TOO_LARGE, Problem, internal_error, stopping, too_large
from api.requests.known_keys import Ignored
from shared import tracing
from shared.keys.principal import Principal
from shared.logs import noting
from shared.metrics import definitions as metrics
from shared.metrics import instruments
from shared.tracing import RequestTrace

REQUEST_ID: Final = "x-request-id"
IGNORED: Final = "x-runyard-ignored"
"""Names what of a request meant nothing here, percent-encoded where it is not printable."""

PREFERENCE_APPLIED: Final = "preference-applied"
PROBES: Final = "/health/"
UNLOGGED: Final = (PROBES, "/metrics")
"""Paths of requests that come all the time; only the level DEBUG shows them."""

LOGGED_PATH: Final = 200  # characters of a path that a log line shows

_BODY_RULE: Final = "runyard.body_rule"
_SLASHES = re.compile("/{2,}")
_TWICE_API = re.compile("^(?:/api)+(?=/api(?:/|$))")
_ACCEPTABLE_ID = re.compile(r"[!-~]{1,128}")  # of a caller: printable, and one word
_REQUEST_ID: Final = "runyard.request_id"

log = structlog.get_logger(__name__)


def normal_path(path: str, *, root_path: str = "") -> str:
    """Return a path with single slashes, one leading `/api`, no slash at its end and without `root_path`.

    Clients whose base URL ends with `/api` or a slash send such paths.
    """
    path = _SLASHES.sub("/", path)
    if root_path and f"{path}/".startswith(f"{root_path}/"):
        path = path.removeprefix(root_path)
    return _TWICE_API.sub("", path).rstrip("/") or "/"


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the id of a request: its caller's, if it is acceptable, or a new one."""
    wanted = REQUEST_ID.encode()
    given = next((value.decode("latin-1") for name, value in headers if name.lower() == wanted), "")
    return given if _ACCEPTABLE_ID.fullmatch(given) else uuid.uuid4().hex


@dataclass(frozen=True, slots=True)
class RequestIds:
    """Gives every request an id, and every answer the id of its request."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = request_id_of(scope["headers"])

        async def identified(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        await self.app({**scope, _REQUEST_ID: request_id}, receive, identified)


@dataclass(frozen=True, slots=True)
class NormalPaths:
    """Sends a request where its client meant it to go."""

    app: ASGIApp
    root_path: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "path": normal_path(scope["path"], root_path=self.root_path)}
        await self.app(scope, receive, send)


@dataclass(frozen=True, slots=True)
class BodyRule:
    """How large the bodies of a path may be."""

    limit: int  # bytes
    knows_caller: bool = False  # a larger one is refused only where the caller is known

    @classmethod
    def of(cls, scope: Scope) -> "BodyRule":
        """The rule of a request that has passed `BodyLimit`."""
        rule: BodyRule = scope[_BODY_RULE]
        return rule


@dataclass(frozen=True, slots=True)
class BodyLimit:
    """Refuses a body that is too large: by its announced length, or as soon as it has grown too long."""

    app: ASGIApp
    rule_of: Callable[[str], BodyRule]
    render: Callable[[Problem], ASGIApp]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        rule = self.rule_of(scope["path"])
        length = Headers(scope=scope).get("content-length", "")
        announced = int(length) if length.isascii() and length.isdecimal() else 0
        if announced > rule.limit and not rule.knows_caller:
            await self.render(too_large(rule.limit))(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = {} if announced > rule.limit else await receive()
            seen += len(message.get("body", b""))
            if max(seen, announced) > rule.limit:
                raise HTTPException(TOO_LARGE, too_large(rule.limit).faults[0].message)
            return message

        scope[_BODY_RULE] = rule
        await self.app(scope, counted, send)


@dataclass(frozen=True, slots=True)
class RequestLog:
    """Logs the end of every request; turns what nobody caught into a 500, and what had no time into a 503.

    Lines of a request have its id, its trace if it has one, and once its caller is known, the organization.
    """

    app: ASGIApp
    render: Callable[[Problem], ASGIApp]
    joins_traces: bool = True  # of callers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = scope[_REQUEST_ID]
        answer = _Answer(scope, send)
        started_at = time.perf_counter()
        trace = RequestTrace(_traceparent_of(scope["headers"]), joins=self.joins_traces)
        about = {"request_id": request_id, **({"trace_id": trace.trace_id} if trace.trace_id else {})}
        place = tracing.enter(trace)
        with structlog.contextvars.bound_contextvars(**about), noting() as noted:
            try:
                await self.app(scope, receive, answer)
            except asyncio.CancelledError:  # by the server, when its time to stop is over
                if answer.status is not None:
                    raise
                await self.render(stopping())(scope, receive, answer)
            except Exception:
                log.exception("request failed", method=scope["method"], path=scope["path"][:LOGGED_PATH])
                if answer.status is None:
                    await self.render(internal_error())(scope, receive, answer)
                elif not answer.is_complete:
                    raise  # half an answer is out: the server has to break the connection
            finally:
                structlog.contextvars.unbind_contextvars("organization_id")
                tracing.leave(place)
                principal: Principal | None = scope.get("state", {}).get("principal")
                ignored = _ignored_of(scope)
                _measure(scope, answer, started_at)
                write = log.debug if scope["path"].startswith(UNLOGGED) else log.info
                write(
                    "request",
                    method=scope["method"],
                    path=scope["path"][:LOGGED_PATH],
                    status=answer.status,
                    **_of_caller(principal),
                    duration_ms=round((time.perf_counter() - started_at) * 1000, 2),
                    **({"ignored": ignored} if ignored else {}),
                    **noted,
                )
                _end(trace, scope, answer.status, request_id=request_id, run_id=noted.get("run_id"))


class _Answer:
    """A `send` that adds what was ignored of a request, and remembers the status."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self.status: int | None = None
        self.is_complete = False
        self.begun_at: float | None = None  # by `time.perf_counter`

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
            self.begun_at = time.perf_counter()
            headers = MutableHeaders(scope=message)
            if names := _ignored_of(self._scope):
                headers[IGNORED] = ", ".join(names)
            if self._scope.get("state", {}).get("is_strict"):
                headers[PREFERENCE_APPLIED] = "handling=strict"
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.is_complete = True


def _traceparent_of(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The header of a request's place in its caller's trace; None if there is none, or several."""
    given = [value for name, value in headers if name == b"traceparent"]
    return given[0].decode("latin-1") if len(given) == 1 else None


def _end(
    trace: RequestTrace, scope: Scope, status: int | None, *, request_id: str, run_id: str | None
) -> None:
    """Record a request that has ended, by its route: a path may have content."""
    if not tracing.is_on():
        return
    principal: Principal | None = scope.get("state", {}).get("principal")
    route = getattr(scope.get("route"), "path", None)
    attributes = {
        "http.request.method": scope["method"],
        "http.route": route,
        "http.response.status_code": status,
        "runyard.request.id": request_id,
        "runyard.run.id": run_id,
        "runyard.organization.id": None if principal is None else str(principal.organization_id),
    }
    is_ours = status is None or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    error = str(status or "aborted") if is_ours else None
    trace.end(f"{scope['method']} {route or ''}".strip(), attributes, error=error)


def _of_caller(principal: Principal | None) -> dict[str, str | None]:
    """The fields of a caller, without the secret of its key."""
    if principal is None:
        return {"key": None}
    return {"key": str(principal.key_id), "organization_id": str(principal.organization_id)}


def _measure(scope: Scope, answer: _Answer, started_at: float) -> None:
    """Count a request by its route, and measure the time to the first byte: streams last as long as runs."""
    if not instruments.is_on():
        return
    route = _route_of(scope)
    metrics.HTTP_REQUESTS.inc(route, "none" if answer.status is None else f"{answer.status // 100}xx")
    if answer.begun_at is not None:
        metrics.HTTP_SECONDS.observe(answer.begun_at - started_at, route)


def _route_of(scope: Scope) -> str:
    """The path of a request with names for its ids, below the prefix of its dialect; few, unlike paths."""
    template: str | None = getattr(scope.get("route"), "path", None)
    if template is None or ":path}" in template:  # of which the rest of the path is an argument
        return "unmatched"
    parts = scope["path"].split("/")
    prefix = parts[: len(parts) - template.count("/")]  # what the application was mounted at
    return "/".join(prefix) + template


def _ignored_of(scope: Scope) -> list[str]:
    """The names of what a request has said in vain, few and short."""
    ignored: Ignored | None = scope.get("state", {}).get("ignored")
    return [] if ignored is None else ignored.names

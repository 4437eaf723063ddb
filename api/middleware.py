"""What happens to every request before a dialect sees it: its path, its size, its id and its log line."""

import re
import time
import uuid
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import TOO_LARGE, Problem, internal_error, too_large
from api.known_keys import Ignored
from shared.keys.principal import Principal
from shared.logs import noting

REQUEST_ID: Final = "x-request-id"
IGNORED: Final = "x-runyard-ignored"
"""Names what of a request meant nothing here, percent-encoded where it is not printable."""

PREFERENCE_APPLIED: Final = "preference-applied"
PROBES: Final = "/health/"
LOGGED_PATH: Final = 200  # characters of a path that a log line shows

_BODY_RULE: Final = "runyard.body_rule"
_SLASHES = re.compile("/{2,}")
_TWICE_API = re.compile("^(?:/api)+(?=/api(?:/|$))")
_ACCEPTABLE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

log = structlog.get_logger(__name__)


def normal_path(path: str, *, root_path: str = "") -> str:
    """One slash for many, one leading `/api` for two, none at the end (contract: griptape §1.1).

    The path below which a proxy shows the API goes, if the proxy has left it there.
    """
    path = _SLASHES.sub("/", path)
    if root_path and f"{path}/".startswith(f"{root_path}/"):
        path = path.removeprefix(root_path)
    return _TWICE_API.sub("", path).rstrip("/") or "/"


class NormalPaths:
    """Sends a request where its client meant it to go."""

    def __init__(self, app: ASGIApp, *, root_path: str) -> None:
        self._app = app
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "path": normal_path(scope["path"], root_path=self._root_path)}
        await self._app(scope, receive, send)


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


class BodyLimit:
    """Refuses a body that is too large: by its announced length, or as soon as it has grown too long."""

    def __init__(
        self, app: ASGIApp, *, rule_of: Callable[[str], BodyRule], render: Callable[[Problem], ASGIApp]
    ) -> None:
        self._app = app
        self._rule_of = rule_of
        self._render = render

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        rule = self._rule_of(scope["path"])
        announced = self._announced(scope)
        if announced > rule.limit and not rule.knows_caller:
            await self._render(too_large(rule.limit))(scope, receive, send)
            return
        scope[_BODY_RULE] = rule
        await self._app(scope, self._counted(receive, rule.limit, announced), send)

    def _announced(self, scope: Scope) -> int:
        length = Headers(scope=scope).get("content-length", "")
        return int(length) if length.isascii() and length.isdecimal() else 0

    def _counted(self, receive: Receive, limit: int, announced: int) -> Receive:
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = {} if announced > limit else await receive()
            seen += len(message.get("body", b""))
            if max(seen, announced) > limit:
                raise HTTPException(TOO_LARGE, too_large(limit).faults[0].message)
            return message

        return counted


class RequestLog:
    """Gives every request an id, logs its end, and turns what nobody caught into a plain 500."""

    def __init__(self, app: ASGIApp, *, render: Callable[[Problem], ASGIApp]) -> None:
        self._app = app
        self._render = render

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        answer = _Answer(scope, send, request_id)
        started_at = time.perf_counter()
        with structlog.contextvars.bound_contextvars(request_id=request_id), noting() as noted:
            try:
                await self._guarded(scope, receive, answer)
            finally:
                _log_end(scope, answer.status, time.perf_counter() - started_at, noted)

    async def _guarded(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        try:
            await self._app(scope, receive, answer)
        except Exception:
            log.exception("request failed", method=scope["method"], path=scope["path"][:LOGGED_PATH])
            if answer.status is not None:
                raise  # half an answer is out: the server has to break the connection
            await self._render(internal_error())(scope, receive, answer)


class _Answer:
    """A `send` that adds the request's id and what was ignored of it, and remembers the status."""

    def __init__(self, scope: Scope, send: Send, request_id: str) -> None:
        self._scope = scope
        self._send = send
        self._request_id = request_id
        self.status: int | None = None

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
            headers = MutableHeaders(scope=message)
            headers[REQUEST_ID] = self._request_id
            if names := _ignored_of(self._scope):
                headers[IGNORED] = ", ".join(names)
            if self._scope.get("state", {}).get("is_strict"):
                headers[PREFERENCE_APPLIED] = "handling=strict"
        await self._send(message)


def _request_id(scope: Scope) -> str:
    """The caller's own id if it can be logged as it is, else a new one."""
    given = Headers(scope=scope).get(REQUEST_ID, "")
    return given if _ACCEPTABLE_ID.fullmatch(given) else uuid.uuid4().hex


def _log_end(scope: Scope, status: int | None, seconds: float, noted: Mapping[str, str]) -> None:
    path: str = scope["path"]
    write = log.debug if path.startswith(PROBES) else log.info
    write(
        "request",
        method=scope["method"],
        path=path[:LOGGED_PATH],
        status=status,
        key=_key_of(scope),
        duration_ms=round(seconds * 1000, 2),
        **({"ignored": ignored} if (ignored := _ignored_of(scope)) else {}),
        **noted,
    )


def _ignored_of(scope: Scope) -> list[str]:
    """The names of what a request has said in vain, few and short."""
    ignored: Ignored | None = scope.get("state", {}).get("ignored")
    return [] if ignored is None else ignored.names


def _key_of(scope: Scope) -> str | None:
    """The id of the key that a request came with, if it was a valid one; never its secret."""
    principal: Principal | None = scope.get("state", {}).get("principal")
    return None if principal is None else str(principal.key_id)

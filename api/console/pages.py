"""Pages: templates, the headers that bound what a page may load, and errors as pages."""

import hashlib
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from http import HTTPStatus
from importlib.resources import files
from typing import Any, Final

import jinja2
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.console.text import LONGEST, in_form, short, survives_form, visible
from api.errors import Problem
from api.resources import Resources
from shared.durations import format_duration
from shared.keys.principal import Principal
from shared.models import KeyScope

PREFIX: Final = "/console"

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
NO_STORE: Final = {"Cache-Control": "no-store"}

KINDS: Final = {
    "console.css": "text/css",
    "console.js": "text/javascript",
    "run.js": "text/javascript",
    "htmx-2.0.11.min.js": "text/javascript",
}
"""The files that pages load, all from the wheel."""

NOTICE: Final = "X-Runyard-Notice"
"""The header of a part of a page that says what the page's banner is to say."""

REDIS_IS_AWAY: Final = "Redis is away. Runs are accepted; they start when it is back."

NOTHING: Final = "\N{EN DASH}"  # where a value would stand

base_path: ContextVar[str] = ContextVar("console_base_path", default=PREFIX)
"""The path below which the caller sees the console."""


class Framed:
    """Knows where the console is mounted, and sets the headers of every answer of it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        root: str = scope["app"].state.settings.root_path
        token = base_path.set(root + PREFIX)

        async def framed(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(
                        (name.lower().encode(), value.encode())
                        for name, value in HEADERS.items()
                        if name.lower().encode() not in present
                    ),
                ]
            await send(message)

        try:
            await self._app(scope, receive, framed)
        finally:
            base_path.reset(token)


def page(request: Request, template: str, *, status: HTTPStatus = HTTPStatus.OK, **context: Any) -> Response:
    """Answer with a page; to htmx with the part of it that changes."""
    principal: Principal | None = getattr(request.state, "principal", None)
    query = request.url.query
    notice = REDIS_IS_AWAY if principal is not None and _lacks_redis(request) else ""
    html = (
        _environment()
        .get_template(template)
        .render(
            context
            | {
                "base": base_path.get(),
                "csrf": getattr(request.state, "csrf", ""),
                "principal": principal,
                "may_run": principal is not None and principal.scope.includes(KeyScope.RUN),
                "may_admin": principal is not None and principal.scope.includes(KeyScope.ADMIN),
                "is_part": is_part(request),
                "here": base_path.get()
                + request.scope["path"].removeprefix(PREFIX)
                + (query and f"?{query}"),
                "now": datetime.now(UTC),
                "notice": notice,
            }
        )
    )
    return HTMLResponse(html, status, headers={**NO_STORE, **({NOTICE: notice} if notice else {})})


def is_part(request: Request) -> bool:
    """Whether only the part of a page that changes is asked for."""
    return "hx-request" in request.headers


def _lacks_redis(request: Request) -> bool:
    resources: Resources = request.app.state.resources
    return not resources.subscriber.is_connected


def render(problem: Problem) -> Response:
    """Answer with a problem. What does not exist and what is another's are the same page."""
    said = "; ".join(fault.message for fault in problem.faults)
    if problem.status is HTTPStatus.NOT_FOUND:
        said = "There is nothing here."
    html = (
        _environment()
        .get_template("error.html")
        .render(
            base=base_path.get(),
            status=problem.status,
            said=said,
            principal=None,
            is_part=False,
            csrf="",
            notice="",
        )
    )
    return HTMLResponse(html, problem.status, headers={**HEADERS, **NO_STORE, **problem.headers})


async def show_file(request: Request) -> Response:
    """Answer with a file that pages load; its address changes with its content."""
    name = request.path_params["name"]
    if name not in KINDS:
        return Response(status_code=HTTPStatus.NOT_FOUND)
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(_file(name), media_type=KINDS[name], headers=headers)


@lru_cache(maxsize=len(KINDS))
def _file(name: str) -> bytes:
    return files("api.console").joinpath("static", name).read_bytes()


@lru_cache(maxsize=len(KINDS))
def _mark(name: str) -> str:
    return hashlib.sha256(_file(name)).hexdigest()[:12]


def _asset(name: str) -> str:
    return f"{base_path.get()}/static/{name}?v={_mark(name)}"


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("api.console"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "clock": _clock,
        "seconds": _seconds,
        "since": _since,
        "short": short,
        "in_form": in_form,
        "in_line": escape,
        "duration": format_duration,
        "size": _size,
        "count": lambda number: NOTHING if number is None else f"{number:,}",
    }
    environment.globals["asset"] = _asset
    environment.globals["survives_form"] = survives_form
    return environment


def _shown(value: Any) -> Any:
    """Make every value on a page harmless text, of bounded length."""
    if isinstance(value, Markup):
        return value
    return "" if value is None else visible(short(value, LONGEST))


def _clock(instant: datetime | float | None) -> Any:
    """Show an instant in UTC, for people and for programs."""
    if instant is None:
        return NOTHING
    if not isinstance(instant, datetime):
        if not 0 <= instant < _LATEST:
            return NOTHING  # a program says when its events happened
        instant = datetime.fromtimestamp(instant, UTC)
    instant = instant.astimezone(UTC)
    return Markup('<time datetime="{}">{}</time>').format(instant.isoformat(), f"{instant:%Y-%m-%d %H:%M:%S}")


_LATEST: Final = 32_503_680_000.0  # epoch seconds: the year 3000
_UNITS: Final[Mapping[str, float]] = {"d": 86_400, "h": 3600, "min": 60}


def _seconds(value: float | timedelta | None) -> str:
    """Show a duration with two or three digits."""
    if value is None:
        return NOTHING
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    for unit, size in _UNITS.items():
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    if seconds < 1:
        return f"{max(seconds, 0):.2f} s"
    return f"{seconds:.0f} s" if seconds >= 100 else f"{seconds:.1f} s"  # noqa: PLR2004  # three digits


def _size(count: int) -> str:
    """Show a number of bytes."""
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if count >= 1024**power:
            return f"{count / 1024**power:.1f} {unit}"
    return f"{count} bytes"


def _since(start: datetime | None, end: datetime | None) -> str:
    return NOTHING if start is None or end is None else _seconds(end - start)

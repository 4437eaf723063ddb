"""The routes of the console: for bearers of a session, with a token in every action."""

import hmac
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import timedelta
from http import HTTPStatus
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl, quote, urlsplit

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from api.console.pages import PREFIX, base_path
from api.key_scopes import SAFE_METHODS
from api.requests.known_keys import Unknown
from api.resources import Resources
from api.routing import JsonRequest, KeyedRoute
from api.traffic.lanes import Lanes
from shared.db import unit_of_work
from shared.errors import ForbiddenError, InvalidRequestError, UnauthenticatedError
from shared.keys.principal import Principal
from shared.keys.sessions import LIFETIME, SessionSeal

COOKIE: Final = "runyard_console"
CSRF: Final = "csrf"
CSRF_HEADER: Final = "x-csrf-token"
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
MAX_FIELDS: Final = 1000

Form = Mapping[str, list[str]]


async def seal_of(request: Request) -> SessionSeal:
    """Return what seals the sessions of this installation; it is read once."""
    state = request.app.state
    found: SessionSeal | None = getattr(state, "console_seal", None)
    if found is None:
        resources: Resources = state.resources

        def read() -> SessionSeal:
            with unit_of_work(resources.sessions) as session:
                return SessionSeal.of(session)

        found = state.console_seal = await resources.lanes.keys.run(True, read)  # a group
    return found


async def authenticate_session(request: Request) -> Principal:
    """Return who has the session of a request.

    Raises:
        UnauthenticatedError: it has none, or one that has ended, or whose key is deleted.
    """
    token = request.cookies.get(COOKIE, "")
    seal = await seal_of(request)
    said = seal.find_session(token)
    resources: Resources = request.app.state.resources
    principal = None if said is None else await resources.keys.find_of(said.key_id)
    if principal is None:
        raise UnauthenticatedError("Sign in: there is no session, or it has ended.")
    request.state.csrf = seal.csrf_token(token)
    resources.key_uses.note(principal.key_id)
    return principal


class ConsoleRoute(KeyedRoute):
    """A route for bearers of a session. Whoever has none is sent to sign in."""

    authenticate = staticmethod(authenticate_session)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        self.takes_anything = not (self.methods or set()) <= SAFE_METHODS
        answer = super().get_route_handler()

        async def sent_to_sign_in(request: Request) -> Response:
            try:
                return await answer(request)
            except UnauthenticatedError:
                wanted = base_path.get() + request.scope["path"].removeprefix(PREFIX)
                wanted += f"?{request.url.query}" if request.url.query else ""
                target = f"{base_path.get()}/sign-in?next={quote(wanted, safe='')}"
                if "hx-request" in request.headers:
                    return Response(status_code=HTTPStatus.UNAUTHORIZED, headers={"HX-Redirect": target})
                if request.method not in SAFE_METHODS or "text/html" not in request.headers.get("accept", ""):
                    raise
                return RedirectResponse(target, HTTPStatus.SEE_OTHER)

        return sent_to_sign_in

    def tell(self, request: Request, unknown: Iterable[Unknown]) -> None:
        """Say nothing: a person reads no header."""

    async def read(self, request: Request, lanes: Lanes) -> JsonRequest:
        """Read the fields of a form.

        Raises:
            ForbiddenError: the token of the session is not with them.
        """
        del lanes
        body = b"".join([part async for part in request.stream()])
        form = request.state.form = read_form(body)
        given = request.headers.get(CSRF_HEADER) or form.get(CSRF, [""])[0]
        if not hmac.compare_digest(given.encode(), request.state.csrf.encode()):
            raise ForbiddenError("This page is too old for that, or of another origin. Load it again.")
        return JsonRequest(request, body, None)


def read_form(body: bytes) -> Form:
    """Read the fields of a form, each with its values.

    Raises:
        InvalidRequestError: this is no form, or one with too many fields.
    """
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise InvalidRequestError(f"This is no form with {MAX_FIELDS} fields at the most.") from error
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        # A browser sends line ends of a text area as CR LF.
        found.setdefault(name, []).append(
            value.replace("\r\n", "\n").replace("\x00", "\N{REPLACEMENT CHARACTER}")
        )
    return found


async def _form(request: Request) -> Form:
    form: Form = request.state.form
    return form


FormDep = Annotated[Form, Depends(_form)]


def text_of(form: Form, name: str) -> str:
    """Return the first value of a field; the empty text without one."""
    return form.get(name, [""])[0]


def to(path: str) -> Response:
    """Send a browser to another page of the console after an action."""
    return RedirectResponse(base_path.get() + path, HTTPStatus.SEE_OTHER)


def begin_session(request: Request, response: Response, token: str) -> None:
    """Give a browser a session; over plain HTTP only on the machine itself."""
    response.set_cookie(
        COOKIE,
        token,
        max_age=int(LIFETIME / timedelta(seconds=1)),
        path=base_path.get(),
        secure=not _is_on_this_machine(request),
        httponly=True,
        samesite="strict",
    )


def _is_on_this_machine(request: Request) -> bool:
    """Whether a browser on this machine asks by plain HTTP.

    Behind a proxy, `Host` alone may name this machine, too.
    """
    headers = request.headers
    if any(name == "forwarded" or name.startswith("x-forwarded-") for name in headers):
        return False
    host = f"http://{headers.get('host', '')}"
    try:
        sides = [urlsplit(side) for side in (host, headers.get("origin", host))]
    except ValueError:
        return False
    return all(side.scheme == "http" and side.hostname in LOOPBACK for side in sides)


def end_session(response: Response) -> None:
    """Take a browser's session away."""
    response.delete_cookie(COOKIE, path=base_path.get(), httponly=True, samesite="strict")

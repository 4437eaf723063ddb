"""Signing in with an API key or with a link, and signing out."""

from http import HTTPStatus
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from api.console.pages import base_path, page
from api.console.route import ConsoleRoute, begin_session, end_session, read_form, seal_of, text_of
from api.key_scopes import takes
from api.resources import Resources
from shared.db import unit_of_work
from shared.errors import TooManyRefusalsError, UnauthenticatedError
from shared.keys.principal import Principal
from shared.models import KeyScope

SIGN_IN: Final = "/sign-in"
MAX_BODY: Final = 4096  # bytes of the form, which comes from strangers
HOME: Final = "/overview"
TOO_MANY: Final = "Too many wrong keys have come from your address. Wait a little."

router = APIRouter()
own = APIRouter(route_class=ConsoleRoute)


@router.get(SIGN_IN)
async def show_sign_in(request: Request) -> Response:
    """Show the form; with a link, one that needs only a click, so that no preview uses the link up."""
    query = request.query_params
    return page(
        request, "sign_in.html", link=query.get("link", "")[:300], next=query.get("next", ""), said=""
    )


@router.post(SIGN_IN)
@takes(KeyScope.READ)
async def sign_in(request: Request) -> Response:
    """Begin a session. Wrong keys of an address are paced as the API paces them."""
    form = read_form(await request.body())
    link, secret, wanted = text_of(form, "link"), text_of(form, "key").strip(), text_of(form, "next")
    seal = await seal_of(request)
    try:
        _require_own_page(request)
        principal = await (_by_link(request, link) if link else _by_key(request, secret))
    except (UnauthenticatedError, TooManyRefusalsError) as refusal:
        is_pace = isinstance(refusal, TooManyRefusalsError)
        status = HTTPStatus.TOO_MANY_REQUESTS if is_pace else HTTPStatus.UNAUTHORIZED
        return page(request, "sign_in.html", status=status, link="", next=wanted, said=refusal.message)
    response = RedirectResponse(_own_path(wanted), HTTPStatus.SEE_OTHER)
    begin_session(request, response, seal.new_session(principal.key_id))
    return response


@own.post("/sign-out")
@takes(KeyScope.READ)
async def sign_out() -> Response:
    """End the session of this browser."""
    response = RedirectResponse(base_path.get() + SIGN_IN, HTTPStatus.SEE_OTHER)
    end_session(response)
    return response


def _require_own_page(request: Request) -> None:
    """Refuse the form of another origin, which could sign somebody in as another."""
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise UnauthenticatedError("Sign in from this page.")


async def _by_key(request: Request, secret: str) -> Principal:
    resources: Resources = request.app.state.resources
    keys, address = resources.keys, request.client.host if request.client else ""
    if not await keys.is_worth_a_look(secret):
        if not keys.may_try(address):
            raise TooManyRefusalsError(TOO_MANY)
        keys.note_refusal(address)
        raise UnauthenticatedError("This is no API key.")
    try:
        principal = await keys.find(secret, address=address)  # a good one that is known is found at any pace
    except TooManyRefusalsError as error:
        raise TooManyRefusalsError(TOO_MANY) from error
    if principal is None:
        raise UnauthenticatedError("There is no such API key.")
    if principal.run is not None:
        raise UnauthenticatedError("The key of a run opens no console.")
    return principal


async def _by_link(request: Request, link: str) -> Principal:
    seal = await seal_of(request)
    resources: Resources = request.app.state.resources

    def use() -> Principal:
        with unit_of_work(resources.sessions) as session:
            return seal.use_link(session, link)

    return await resources.lanes.keys.run(False, use)  # a group of look-ups


def _own_path(wanted: str) -> str:
    """Where to go after signing in: a page of the console and nowhere else."""
    is_own = wanted.startswith(f"{base_path.get()}/") and wanted.isprintable() and "\\" not in wanted
    return wanted if is_own else base_path.get() + HOME


router.include_router(own)

"""Errors as responses: the table of HTTP statuses, and the exception handlers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from psycopg.errors import QueryCanceled
from sqlalchemy import exc as sql
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match

from shared.db import LACKING, fault_of, sqlstate_of, words_of
from shared.db import Fault as DatabaseFault
from shared.errors import (
    ConflictError,
    ContendedError,
    ForbiddenError,
    InvalidRequestError,
    LeaseLostError,
    NotFoundError,
    OutputTooLargeError,
    OverloadedError,
    QueueFullError,
    RunyardError,
    ServiceUnavailableError,
    ShareUsedUpError,
    TooManyRefusalsError,
    TransitionRefusedError,
    UnauthenticatedError,
)

MAX_FAULTS: Final = 20
"""Faults that one answer lists at the most."""

RETRY_AFTER: Final = "2"  # seconds

NOT_MIGRATED: Final = "The database lacks tables of this release: it has to be migrated."

BAD_REQUEST: Final = HTTPStatus.BAD_REQUEST
FORBIDDEN: Final = HTTPStatus.FORBIDDEN
NOT_FOUND: Final = HTTPStatus.NOT_FOUND
CONFLICT: Final = HTTPStatus.CONFLICT
TOO_LARGE: Final = HTTPStatus(413)
TOO_MANY_REQUESTS: Final = HTTPStatus.TOO_MANY_REQUESTS
"""The statuses that operations document."""

METHODS: Final = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a request, and its place in the request."""

    type: str
    message: str
    path: tuple[str | int, ...] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request has no result; each dialect renders it its own way."""

    status: HTTPStatus
    faults: Sequence[Fault]
    headers: Mapping[str, str] = field(default_factory=dict)


Render = Callable[[Problem], Response]

STATUS_OF: Final[Mapping[type[RunyardError], HTTPStatus]] = {
    InvalidRequestError: HTTPStatus.BAD_REQUEST,
    OutputTooLargeError: TOO_LARGE,
    UnauthenticatedError: HTTPStatus.UNAUTHORIZED,
    ForbiddenError: HTTPStatus.FORBIDDEN,
    NotFoundError: HTTPStatus.NOT_FOUND,
    ConflictError: HTTPStatus.CONFLICT,
    TransitionRefusedError: HTTPStatus.CONFLICT,
    LeaseLostError: HTTPStatus.CONFLICT,
    ShareUsedUpError: HTTPStatus.CONFLICT,
    QueueFullError: HTTPStatus.TOO_MANY_REQUESTS,
    TooManyRefusalsError: HTTPStatus.TOO_MANY_REQUESTS,
    ServiceUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""The status of each domain error; subclasses follow their base, and what is not here is a 500."""

HEADERS_OF: Final[Mapping[HTTPStatus, Mapping[str, str]]] = {
    HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": "Bearer"},
    HTTPStatus.TOO_MANY_REQUESTS: {"Retry-After": RETRY_AFTER},
    HTTPStatus.SERVICE_UNAVAILABLE: {"Retry-After": RETRY_AFTER},
}


def status_of(error: RunyardError) -> HTTPStatus:
    """The status of a domain error, by the nearest base that the table knows."""
    known = (STATUS_OF[base] for base in type(error).__mro__ if base in STATUS_OF)
    return next(known, HTTPStatus.INTERNAL_SERVER_ERROR)


def problem(
    status: HTTPStatus, message: str, *, kind: str | None = None, path: tuple[str | int, ...] = ()
) -> Problem:
    """A problem with a single fault; its type is the status's own name if `kind` is absent."""
    fault = Fault(kind or name_of(status), message, path)
    return Problem(status, [fault], HEADERS_OF.get(status, {}))


def name_of(status: HTTPStatus) -> str:
    """A status as one word: `NotFound`."""
    if status is TOO_LARGE:
        return "ContentTooLarge"  # Python 3.13 renamed it
    return "".join(word.capitalize() for word in status.name.split("_"))


def internal_error() -> Problem:
    """What a caller learns of an error that is ours: nothing but that there was one."""
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong on our side; it was logged.")


def stopping() -> Problem:
    """What a caller learns whose request is not done when the server may wait no longer for it."""
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, "The server stops, and has not finished the request.")


def too_large(limit: int) -> Problem:
    return problem(TOO_LARGE, f"The body is larger than {limit} bytes.")


def of_domain(error: RunyardError) -> Problem:
    status = status_of(error)
    if status is HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("unexpected domain error", exc_info=error)
        return internal_error()
    path = error.path if isinstance(error, InvalidRequestError) else ()
    return problem(status, error.message, kind=type(error).__name__.removesuffix("Error"), path=path)


NO_OBJECT: Final = "The body has to be a JSON object."

_WHOLE_BODY: Final = ("body",)
_NOT_AN_OBJECT: Final = frozenset({"dict_type", "missing", "model_attributes_type", "model_type"})
"""Pydantic's types of a fault of a body that is no object, or is missing."""


def of_validation(error: RequestValidationError) -> Problem:
    faults = []
    for item in error.errors()[:MAX_FAULTS]:
        path = tuple(item["loc"])
        is_no_object = path == _WHOLE_BODY and item["type"] in _NOT_AN_OBJECT
        faults.append(Fault(item["type"], NO_OBJECT if is_no_object else item["msg"], path))
    return Problem(HTTPStatus.BAD_REQUEST, faults)


def methods_of_path(request: Request) -> str:
    """The methods of all routes of a request's path, as the value of `Allow`."""
    scopes = {method: {**request.scope, "method": method} for method in METHODS}
    return ", ".join(
        method
        for method, scope in scopes.items()
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)
    )


def of_http(error: HTTPException) -> Problem:
    """The router's own refusals: no such path, method not allowed."""
    status = HTTPStatus(error.status_code)
    headers = {**HEADERS_OF.get(status, {}), **(error.headers or {})}
    return Problem(status, [Fault(name_of(status), str(error.detail))], headers)


def of_database(error: sql.SQLAlchemyError) -> Problem:
    """An error of the database in a caller's terms, by `shared.db`.

    PostgreSQL away or refusing, others in the way, and a schema that is behind, are a 503;
    what has just been deleted or taken is a 404 or a 409; a value that cannot be stored is a 400.
    Anything else is a bug of ours.
    """
    if isinstance(error.__cause__, QueryCanceled):
        log.warning("request took too long", cause=words_of(error))
        return of_domain(OverloadedError("This takes longer than a request may; ask for less, or again."))
    if isinstance(error, sql.TimeoutError):
        log.warning("no database connection was free", cause=words_of(error))
        return of_domain(OverloadedError())
    if sqlstate_of(error) in LACKING:
        log.error("database not migrated", cause=words_of(error))
        return of_domain(ServiceUnavailableError(NOT_MIGRATED))
    fault = fault_of(error)
    if fault is DatabaseFault.BUG:
        log.error("database error", exc_info=error)
        return internal_error()
    refusal = _REFUSALS[fault] if sqlstate_of(error) else _UNSAID.get(fault, _REFUSALS[fault])
    write = log.warning if fault in {DatabaseFault.OUTAGE, DatabaseFault.CONTENTION} else log.info
    write("database refused", fault=fault, error=type(error).__name__, cause=words_of(error))
    return of_domain(refusal())


_REFUSALS: Final[Mapping[DatabaseFault, Callable[[], RunyardError]]] = {
    DatabaseFault.OUTAGE: ServiceUnavailableError,
    DatabaseFault.CONTENTION: ContendedError,
    DatabaseFault.GONE: partial(ConflictError, "Something this refers to has just been deleted."),
    DatabaseFault.TAKEN: partial(ConflictError, "Another one has just taken what is to be unique."),
    DatabaseFault.UNSTORABLE: partial(InvalidRequestError, "A value in this request cannot be stored."),
}
_UNSAID: Final[Mapping[DatabaseFault, Callable[[], RunyardError]]] = {DatabaseFault.GONE: NotFoundError}
"""As above, where PostgreSQL has said nothing: the row itself was gone."""


TRANSLATIONS: Final[Mapping[type[Exception], Callable[[Any], Problem]]] = {
    RunyardError: of_domain,
    RequestValidationError: of_validation,
    HTTPException: of_http,
    sql.SQLAlchemyError: of_database,
    # Nobody reads this: the caller left before the end of its request.
    ClientDisconnect: lambda _error: problem(HTTPStatus.BAD_REQUEST, "The body ended too early."),
}


def install(app: FastAPI, render_of: Callable[[str], Render]) -> None:
    """Answer every error that an endpoint, a dependency or the router raises on purpose.

    Args:
        render_of: the error shape of a path. No mount takes a path with a line end, so the root application
            answers for the paths of all dialects.
    """

    async def handle(translate: Callable[[Any], Problem], request: Request, error: Exception) -> Response:
        found = translate(error)
        if found.status is HTTPStatus.METHOD_NOT_ALLOWED and "Allow" in found.headers:
            # The router names the methods of the first route alone.
            found = replace(found, headers={**found.headers, "Allow": methods_of_path(request)})
        return render_of(request.scope["path"])(found)

    for kind, translate in TRANSLATIONS.items():
        app.add_exception_handler(kind, partial(handle, translate))
    # Of a mounted application, whose own last resort would be a bare text; `RequestLog` has the root's.
    app.add_exception_handler(Exception, partial(handle, lambda _error: internal_error()))

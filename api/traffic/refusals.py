"""Refusals of a connection, before its request reaches the application."""

from http import HTTPStatus
from typing import Final

from api.errors import Problem, of_domain, problem
from shared.errors import OverloadedError

NO_ROOM: Final = of_domain(OverloadedError("There are too many connections; ask again."))
NO_MEMORY: Final = of_domain(OverloadedError("Too many bodies wait to be read; ask again."))
SLOW: Final = problem(HTTPStatus.REQUEST_TIMEOUT, "The request did not come in time.")
MALFORMED: Final = problem(HTTPStatus.BAD_REQUEST, "This is not a valid HTTP request.")
TOO_FAR_AHEAD: Final = problem(
    HTTPStatus.TOO_MANY_REQUESTS, "Too much is sent on this connection before it is answered."
)


def url_too_long(limit: int) -> Problem:
    return problem(HTTPStatus(414), f"The URL is longer than {limit} bytes.")


def headers_too_large(headers: int, size: int) -> Problem:
    return problem(
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        f"A request has {headers} headers of {size} bytes together at the most.",
    )


def framing_too_large(size: int) -> Problem:
    return problem(
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        f"Trailers and extensions of chunks have {size} bytes at the most.",
    )

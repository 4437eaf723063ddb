"""Errors in this dialect's shape, which is FastAPI's own."""

from http import HTTPStatus

from pydantic import BaseModel

from api.errors import Problem
from api.streaming.responses import JsonResponse

INVALID = HTTPStatus(422)


class Refusal(BaseModel):
    """An error."""

    detail: str


class InvalidItem(BaseModel):
    """One fault of a request, and its place in the request."""

    loc: list[str | int]
    msg: str
    type: str


class Invalid(BaseModel):
    """The faults of a request."""

    detail: list[InvalidItem]


def render(problem: Problem) -> JsonResponse:
    """Answer with a problem; what is wrong with the request itself is a 422 that lists each fault."""
    if problem.status is HTTPStatus.BAD_REQUEST:
        items = [
            {"loc": list(fault.path), "msg": fault.message, "type": fault.type} for fault in problem.faults
        ]
        return JsonResponse({"detail": items}, INVALID, headers=dict(problem.headers))
    message = "; ".join(fault.message for fault in problem.faults)
    return JsonResponse({"detail": message}, problem.status, headers=dict(problem.headers))


ERRORS: dict[int | str, dict[str, object]] = {
    422: {"model": Invalid, "description": "The request is not valid."},
    401: {"model": Refusal, "description": "A valid API key is required."},
    404: {"model": Refusal, "description": "The resource does not exist."},
    409: {"model": Refusal, "description": "The state of the resource forbids it."},
    413: {"model": Refusal, "description": "The body is too large."},
    503: {"model": Refusal, "description": "The server is busy. Try again after `Retry-After` seconds."},
}
"""The error answers of every operation, for its documentation."""

"""Errors in this dialect's shape."""

from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

from api.errors import Problem, name_of
from api.streaming.responses import JsonResponse


class ErrorItem(BaseModel):
    """One fault of a request, and its place in the request."""

    type: str
    message: str
    path: str | None = None


class ErrorBody(BaseModel):
    """An error."""

    type: str
    errors: list[ErrorItem]


def render(problem: Problem) -> JsonResponse:
    """Answer with a problem."""
    items = [
        {"type": fault.type, "message": fault.message}
        | ({"path": ".".join(map(str, fault.path))} if fault.path else {})
        for fault in problem.faults
    ]
    body = {"type": name_of(problem.status), "errors": items}
    return JsonResponse(body, problem.status, headers=problem.headers)


def documented(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """The error answers of an operation, for its documentation; any other has the same shape."""
    every = {HTTPStatus.UNAUTHORIZED, HTTPStatus.SERVICE_UNAVAILABLE, *statuses}
    answers: dict[int | str, dict[str, Any]] = {
        status.value: {"model": ErrorBody, "description": status.phrase} for status in sorted(every)
    }
    return answers | {"default": {"model": ErrorBody, "description": "Any other error"}}

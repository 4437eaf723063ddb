"""Kinds of fields that this dialect's requests and answers are made of."""

import re
import uuid
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from api.requests.blanks import BLANK_IS_NONE
from api.requests.known_keys import UNSERVED
from shared.instants import rfc3339

MAX_NUMBER: Final = 2_147_483_647
"""The largest number a query may carry; PostgreSQL counts events with as many bits."""

_DECIMAL: Final = re.compile(r"\d{1,9}(\.\d*)?", re.ASCII)
_WHOLE: Final = re.compile(r"(\d+)(\.0*)?", re.ASCII)


def whole(*, default: int | None) -> BeforeValidator:
    """Read a number of a query: `20` and `20.0` are the same, and nothing means `default`."""

    def read(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if not value:
            return default
        match = _WHOLE.fullmatch(value)
        if match is None:
            raise PydanticCustomError("whole_number", "This has to be a whole number that is not negative.")
        return int(match[1])

    return BeforeValidator(read)


def seconds(*, default: float) -> BeforeValidator:
    """Read a duration of a query: a decimal number, and nothing means `default`."""

    def read(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if not value:
            return default
        if _DECIMAL.fullmatch(value) is None:
            raise PydanticCustomError("seconds", "This has to be a number of seconds that is not negative.")
        return float(value)

    return BeforeValidator(read)


def at_most(limit: float) -> AfterValidator:
    """Take less than was asked for, rather than refuse."""
    return AfterValidator(lambda number: min(number, limit))


def _model(value: str) -> str:
    provider, _, name = value.partition("/")
    if value != "echo" and not (provider.strip() and name.strip() and value.isprintable()):
        raise PydanticCustomError("model", "A model is `echo` or `provider/model`, such as `openai/gpt-5`.")
    return value


Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Description = Annotated[str, StringConstraints(max_length=200)]
Model = Annotated[str, StringConstraints(max_length=200), AfterValidator(_model)]
LongDescription = Annotated[str, StringConstraints(max_length=2000)]
Search = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]
"""Text to look for; PostgreSQL has no NUL characters to compare with."""

Alias = Annotated[str | None, StringConstraints(max_length=200), BLANK_IS_NONE]
"""A name to be found by; null and the empty string mean none."""

Metadata = dict[str, Any]
Ids = Annotated[list[uuid.UUID], Field(fail_fast=True)]

UnservedIds = Annotated[Ids | None, UNSERVED]
"""Ids of resources that do not exist yet: kept, and told to whoever gives any."""

Instant = Annotated[datetime, PlainSerializer(rfc3339, return_type=str)]


def optional() -> Any:
    """A field of an answer whose key is left out while there is no value."""
    return Field(default=None, exclude_if=lambda value: value is None)


MIN_DURATION: Final = 0.001  # seconds
MAX_DURATION: Final = 2_592_000  # seconds, 30 days
MAX_ATTEMPTS: Final = 100


def _duration(value: Any) -> timedelta:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not MIN_DURATION <= value <= MAX_DURATION
    ):
        raise PydanticCustomError(
            "duration",
            "Input should be a number of seconds from {shortest} to {longest}",
            {"shortest": MIN_DURATION, "longest": MAX_DURATION},
        )
    return timedelta(seconds=value)


_SECONDS: Final = {
    "type": "number",
    "minimum": MIN_DURATION,
    "maximum": MAX_DURATION,
    "description": "Seconds.",
}

Seconds = Annotated[
    timedelta, PlainSerializer(timedelta.total_seconds, return_type=float), WithJsonSchema(_SECONDS)
]
"""A duration in an answer."""

Duration = Annotated[timedelta, BeforeValidator(_duration), WithJsonSchema(_SECONDS)]
"""A duration in a request, in seconds."""

Attempts = Annotated[int, Field(strict=True, ge=1, le=MAX_ATTEMPTS)]
"""How often a run may be begun."""

"""Filters of run lists: thread, time, kind and metadata."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from fastapi import Depends, Query
from pydantic import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError

from api.requests.blanks import BLANK_IS_NONE, OptionalId
from api.requests.metadata import MetadataDep
from shared.lifecycle import RunKind
from shared.runs.lists import RunFilter

EARLIEST: Final = datetime(1970, 1, 1)  # noqa: DTZ001  # by any clock
LATEST: Final = datetime(9000, 1, 1)  # noqa: DTZ001  # the same; PostgreSQL and Python know all between

_LOST_PLUS: Final = re.compile(r" (?=\d\d:?\d\d$)")


def split(values: Any) -> list[str]:
    """Read `status=A,B` of a query like `status=A&status=B`."""
    return [name for value in values for name in value.split(",") if name]


def _with_its_plus(value: Any) -> Any:
    """An instant as it was meant: a `+` that was not encoded arrives as a space."""
    return (_LOST_PLUS.sub("+", value) or None) if isinstance(value, str) else value


def _in_utc(value: datetime | None) -> datetime | None:
    if value is None:
        return None
    if not EARLIEST <= value.replace(tzinfo=None) <= LATEST:
        raise PydanticCustomError("instant", "This has to be an instant from 1970 to 9000.")
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


Instant = Annotated[
    datetime | None,
    BeforeValidator(_with_its_plus),
    AfterValidator(_in_utc),
    Query(description="An instant by RFC 3339, exclusive; UTC without an offset."),
]
Thread = Annotated[OptionalId, Query()]
Kind = Annotated[Literal["assistant", "structure"] | None, BLANK_IS_NONE]


async def _run_filter(
    metadata: MetadataDep,
    *,
    thread_id: Thread = None,
    created_after: Instant = None,
    created_before: Instant = None,
    kind: Annotated[Kind, Query()] = None,
    type_: Annotated[Kind, Query(alias="type", description="Same as `kind`.")] = None,
) -> RunFilter:
    return RunFilter(
        thread_id=thread_id,
        created_after=created_after,
        created_before=created_before,
        kinds=frozenset(RunKind(one) for one in (kind, type_) if one is not None),
        metadata=metadata,
    )


RunFilterDep = Annotated[RunFilter, Depends(_run_filter)]
"""The filters of a list of runs, without the statuses, which each dialect names in its own way."""

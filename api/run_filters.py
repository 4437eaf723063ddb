"""Which runs a list is to show, as both dialects ask for them: of a thread, a time, a kind, with metadata."""

import re
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from fastapi import Depends, Query, Request
from pydantic import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError

from api import metadata as run_metadata
from shared.runs.lifecycle import RunKind
from shared.runs.lists import RunFilter

EARLIEST: Final = datetime(1970, 1, 1)  # noqa: DTZ001  # by any clock
LATEST: Final = datetime(9000, 1, 1)  # noqa: DTZ001  # the same; PostgreSQL and Python know all between

_LOST_PLUS: Final = re.compile(r" (?=\d\d:?\d\d$)")


def split(values: Any) -> list[str]:
    """Read `status=A,B` of a query like `status=A&status=B`."""
    return [name for value in values for name in value.split(",") if name]


def _nothing_is_none(value: Any) -> Any:
    return None if value == "" else value


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
    Query(description="RFC 3339, in UTC if it names no offset; the very instant is not meant."),
]
Thread = Annotated[uuid.UUID | None, BeforeValidator(_nothing_is_none), Query()]
Kind = Annotated[Literal["assistant", "structure"] | None, BeforeValidator(_nothing_is_none)]
Metadata = Annotated[
    Sequence[str],
    Query(
        description="Runs whose `metadata` holds this: `metadata[key]=value`, `metadata=key:value`, or an "
        "object in JSON; several are all needed."
    ),
]


async def _run_filter(
    request: Request,
    *,
    thread_id: Thread = None,
    created_after: Instant = None,
    created_before: Instant = None,
    kind: Annotated[Kind, Query()] = None,
    type_: Annotated[Kind, Query(alias="type", description="The same as `kind`.")] = None,
    metadata: Metadata = (),
) -> RunFilter:
    del metadata  # it is read below, with its other forms
    return RunFilter(
        thread_id=thread_id,
        created_after=created_after,
        created_before=created_before,
        kinds=frozenset(RunKind(one) for one in (kind, type_) if one is not None),
        metadata=run_metadata.in_query(request.query_params.multi_items()),
    )


RunFilterDep = Annotated[RunFilter, Depends(_run_filter)]
"""What a list of runs is narrowed by, beside the statuses that each dialect has its own words for."""

"""What callers note for themselves, of runs, assistants and threads: a small map of texts, or a filter."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final

import orjson
from fastapi import Depends, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, Field, StringConstraints, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from shared.rows.metadata import LONGEST_KEY, LONGEST_VALUE, MOST

LARGEST: Final = 8_192  # bytes of all keys and values

NAME: Final = "metadata"


def _printable(key: str) -> str:
    if not key.isprintable():
        raise PydanticCustomError("metadata_key", "A key of metadata is printable text.")
    return key


def _bounded(metadata: dict[str, str]) -> dict[str, str]:
    if sum(len(text.encode()) for pair in metadata.items() for text in pair) > LARGEST:
        raise PydanticCustomError(
            "metadata_too_large", "Metadata has {most} bytes at the most.", {"most": LARGEST}
        )
    return metadata


Key = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_KEY), AfterValidator(_printable)]
Value = Annotated[str, StringConstraints(max_length=LONGEST_VALUE, pattern=r"^[^\x00]*$")]
SmallMap = Annotated[dict[Key, Value], Field(max_length=MOST), AfterValidator(_bounded)]
"""Metadata of a run or of an assistant; that of a thread may be any object."""

_READ: Final = TypeAdapter(SmallMap)


def in_query(parameters: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    """Read what metadata has to hold: `metadata[key]=value`, `metadata=key:value` or an object.

    Raises:
        RequestValidationError: it is none of these, or more than metadata can be.
    """
    found: dict[str, Any] = {}
    for name, value in parameters:
        base, bracket, key = name.partition("[")
        if base != NAME or (not value and not bracket):
            continue
        if bracket:
            found[key.removesuffix("]")] = value
            continue
        key, colon, text = value.partition(":")
        try:
            pairs = orjson.loads(value) if value.startswith("{") else {key: text} if colon else None
        except orjson.JSONDecodeError:
            pairs = None
        if not isinstance(pairs, dict):
            said = 'Say `metadata[key]=value`, `metadata=key:value` or `metadata={"key": "value"}`.'
            raise RequestValidationError([{"type": "metadata", "msg": said, "loc": ("query", NAME)}])
        found |= pairs
    return in_filter(found)


def in_filter(pairs: Mapping[str, Any]) -> Mapping[str, str]:
    """Check what metadata has to hold.

    Raises:
        RequestValidationError: it is more than metadata can be.
    """
    try:
        return _READ.validate_python(pairs)
    except ValidationError as error:
        faults = [{**fault, "loc": _place(fault["loc"])} for fault in error.errors(include_url=False)]
        raise RequestValidationError(faults) from error


def _place(path: tuple[int | str, ...]) -> tuple[str, str]:
    """The place of a fault in the query: the parameter of a pair, or all of metadata."""
    return ("query", f"{NAME}[{path[0]}]" if path else NAME)


Pairs = Annotated[
    Sequence[str],
    Query(
        description="Pairs that `metadata` must have: `metadata[key]=value`, `metadata=key:value`, or a JSON "
        "object."
    ),
]


async def _pairs(request: Request, *, metadata: Pairs = ()) -> Mapping[str, str]:
    del metadata  # it is read with its other forms
    return in_query(request.query_params.multi_items())


MetadataDep = Annotated[Mapping[str, str], Depends(_pairs)]
"""The filter of a list by metadata."""

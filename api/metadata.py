"""What callers note of a run for themselves: a small map of texts, in bodies and as a filter in queries."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

import orjson
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, Field, StringConstraints, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

MOST: Final = 16  # keys
LONGEST_KEY: Final = 64  # characters
LONGEST_VALUE: Final = 512  # characters
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
RunMetadata = Annotated[dict[Key, Value], Field(max_length=MOST), AfterValidator(_bounded)]

_READ: Final = TypeAdapter(RunMetadata)


def in_query(parameters: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    """Read what the metadata of a run has to hold: `metadata[key]=value`, `metadata=key:value` or an object.

    Raises:
        RequestValidationError: it is none of these, or more than metadata can be.
    """
    found: dict[str, Any] = {}
    for name, value in parameters:
        base, bracket, key = name.partition("[")
        if base != NAME or (not value and not bracket):
            continue
        found |= {key.removesuffix("]"): value} if bracket else _pairs(value)
    try:
        return _READ.validate_python(found)
    except ValidationError as error:
        faults = [
            {**fault, "loc": ("query", NAME, *fault["loc"])} for fault in error.errors(include_url=False)
        ]
        raise RequestValidationError(faults) from error


def _pairs(text: str) -> dict[str, Any]:
    key, colon, value = text.partition(":")
    try:
        found = orjson.loads(text) if text.startswith("{") else {key: value} if colon else None
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        said = 'Say `metadata[key]=value`, `metadata=key:value` or `metadata={"key": "value"}`.'
        raise RequestValidationError([{"type": "metadata", "msg": said, "loc": ("query", NAME)}])
    return found

"""Unknown keys of a request: found by the declarations of its route, then reported or refused.

Older and newer clients send keys that this server does not have, so an unknown key is no error. But a
misspelt key must not pass unnoticed: the answer names it. `Prefer: handling=strict` (RFC 7240) turns it into
a refusal.
"""

import difflib
import types
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Final, Union, get_args, get_origin
from urllib.parse import quote

from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.security import APIKeyQuery
from pydantic import BaseModel, RootModel
from starlette.datastructures import Headers, QueryParams

from shared.keys.service import PREFIX

MOST: Final = 16
"""Names that one answer lists. `...` after them says that there are more."""

MAX_NAME: Final = 80  # characters of a listed name
LOOKED_AT: Final = 1_000  # unknown keys after which the search ends; a repeated key counts each time
MORE: Final = "..."

EMPTY_BODY: Final = 4  # bytes: `{}` or `null`, from clients that always send a body

DEEP: Final = frozenset({"metadata"})
"""Query parameters with the second form `name[key]=value`."""

_NEAR: Final = 0.6  # similarity, from 0 to 1, of a name that the caller may mean
_VERY_NEAR: Final = 0.75  # similarity of a name that the caller surely means: one letter of four is wrong
_PLAIN: Final = "[]$@:"  # printed as they are, like letters, digits and `_.-~`
_INDEX: Final = "[]"


Path = tuple[str | int, ...]


class Unserved:
    """Marks a field that is stored but has no effect. Answers name it like an unknown key."""


UNSERVED: Final = Unserved()


class Careful(BaseModel):
    """A body that always refuses a misspelt key: without that key the request would do something else."""

    is_careful: ClassVar = True


@dataclass(frozen=True, slots=True)
class ObjectShape:
    """The known keys of an object, each with the shape of its value."""

    fields: Mapping[str, "Shape"]
    unserved: frozenset[str]
    is_careful: bool
    below: Mapping[str, str]  # deeper keys, each with its path

    def nearest(self, key: str, *, cutoff: float = _NEAR) -> str | None:
        """Return the known key, or the path of a deeper one, that an unknown key probably means."""
        if key in self.below:
            return self.below[key]
        return next(iter(difflib.get_close_matches(key.lower(), self.fields, n=1, cutoff=cutoff)), None)


@dataclass(frozen=True, slots=True)
class Shape:
    """The places of known keys in a value. An empty shape accepts every key."""

    objects: tuple[ObjectShape, ...] = ()  # the alternatives of a union
    items: "Shape | None" = None
    values: "Shape | None" = None

    @property
    def is_any(self) -> bool:
        return not self.objects and self.items is None and self.values is None

    def unknown(self, value: Any, path: Path) -> Iterator["Unknown"]:  # a case for each container
        """Yield the unknown keys of a value, outer keys first."""
        if isinstance(value, list) and self.items is not None:
            for index, item in enumerate(value):
                yield from self.items.unknown(item, (*path, index))
        elif isinstance(value, dict) and self.objects:
            # Of several alternatives, the one that knows the most keys.
            known = min(self.objects, key=lambda one: len(value.keys() - one.fields.keys()))
            for key, item in value.items():
                if key not in known.fields:
                    yield Unknown((*path, key), known)
                elif item and key in known.unserved:
                    yield Unknown((*path, key), known, is_unserved=True)
            for key, shape in known.fields.items():
                if not shape.is_any and key in value:
                    yield from shape.unknown(value[key], (*path, key))
        elif isinstance(value, dict) and self.values is not None:
            for key, item in value.items():
                yield from self.values.unknown(item, (*path, key))


@dataclass(frozen=True, slots=True)
class Unknown:
    """An unknown key and its reason."""

    path: Path  # begins with `body` or `query`
    known: ObjectShape | None = None  # the known keys at this place
    is_unserved: bool = False

    @property
    def name(self) -> str:
        """The name in an answer: printable, at most `MAX_NAME` characters."""
        first, *rest = self.path
        said = ".".join(_INDEX if isinstance(part, int) else _printable(part) for part in rest)
        said = said.replace(f".{_INDEX}", _INDEX) or str(first)
        said = f"?{said}" if first == "query" else said
        return said if len(said) <= MAX_NAME else said[: MAX_NAME - len(MORE)] + MORE

    @property
    def is_near_miss(self) -> bool:
        """Whether it is so similar to a key of a careful body that it must be refused."""
        if self.known is None or not self.known.is_careful or self.is_unserved:
            return False
        return self.known.nearest(str(self.path[-1])[:MAX_NAME], cutoff=_VERY_NEAR) is not None

    def fault(self) -> dict[str, Any]:
        """Return the fault that a refusal lists."""
        key = self.name.removeprefix("?").rpartition(".")[2]
        if self.is_unserved:
            message = f"`{key}` is kept, but nothing here acts on it."
        elif self.known is None:
            message = "No body is read here."
        else:
            nearest = self.known.nearest(str(self.path[-1])[:MAX_NAME])
            meant = f" Did you mean `{nearest}`?" if nearest else ""
            message = f"`{key}` is not known here.{meant}"
        shown = tuple(part if isinstance(part, int) else _printable(part) for part in self.path)
        return {"type": "unknown_key", "msg": message, "loc": shown}


@dataclass(slots=True)
class Ignored:
    """The unknown keys of one request."""

    found: dict[str, Unknown] = field(default_factory=dict)  # by name
    has_more: bool = False

    def add(self, unknown: Iterable[Unknown]) -> None:
        """Note keys until the list of names is full, then only that there are more."""
        for seen, one in enumerate(unknown):
            name = one.name
            if name in self.found:
                self.has_more |= seen >= LOOKED_AT
            elif len(self.found) < MOST:
                self.found[name] = one
            else:
                self.has_more = True
            if self.has_more:
                return

    @property
    def names(self) -> list[str]:
        return [*self.found, *([MORE] if self.has_more else [])]

    def refuse(self, *, is_strict: bool) -> None:
        """Refuse the request because of its unknown keys, if necessary.

        Raises:
            RequestValidationError: the caller prefers strict handling, or one of the keys is a near miss.
        """
        refused = [one for one in self.found.values() if is_strict or one.is_near_miss]
        if refused:
            raise RequestValidationError([one.fault() for one in refused])


@dataclass(frozen=True, slots=True)
class KnownKeys:
    """The known keys of a route."""

    query: ObjectShape
    body: Shape

    @classmethod
    def of(cls, dependant: Dependant, body: Any) -> "KnownKeys":
        """Collect the keys that an endpoint and its dependencies declare.

        Args:
            body: the annotation of the body; None without a body.
        """
        names = dict.fromkeys(_query_names(dependant), Shape())
        return cls(ObjectShape(names, frozenset(), is_careful=False, below={}), shape_of(body))

    def knows_in_query(self, name: str) -> bool:
        """Whether the endpoint reads a query parameter."""
        base, bracket, _ = name.partition("[")
        return name in self.query.fields or (bool(bracket) and base in DEEP & self.query.fields.keys())

    def unknown_in_query(self, query: QueryParams) -> Iterator[Unknown]:
        """Yield the query parameters that the endpoint does not read."""
        for name in query:
            if not self.knows_in_query(name):
                yield Unknown(("query", name), self.query)


def unread_body(headers: Headers) -> Iterator[Unknown]:
    """Yield the body itself, if a request has one and the endpoint reads none."""
    length = headers.get("content-length", "")
    has_length = length.isascii() and length.isdecimal()
    if "transfer-encoding" in headers or (has_length and int(length) > EMPTY_BODY):
        yield Unknown(("body",))


def prefers_strictness(headers: Headers) -> bool:
    """Whether a request prefers strict handling. The first preference counts (RFC 7240 §2, §4.4)."""
    for line in headers.getlist("prefer"):
        for preference in line.split(","):
            name, _, value = preference.partition(";")[0].partition("=")
            if name.strip().lower() == "handling":
                return value.strip().strip('"').lower() == "strict"
    return False


def shape_of(annotation: Any) -> Shape:
    """Return the shape of the values of a type."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return shape_of(inner[0])
    if origin in {Union, types.UnionType}:
        shapes = [shape_of(one) for one in inner]
        return Shape(
            objects=tuple(one for shape in shapes for one in shape.objects),
            items=next((shape.items for shape in shapes if shape.items is not None), None),
            values=next((shape.values for shape in shapes if shape.values is not None), None),
        )
    if isinstance(origin, type):
        return _shape_within(origin, inner)
    if isinstance(annotation, type) and issubclass(annotation, RootModel):
        return shape_of(annotation.model_fields["root"].annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return Shape(objects=(_object_shape(annotation),))
    return Shape()


def _shape_within(container: type, inner: Sequence[Any]) -> Shape:
    """Return the shape of a mapping or a collection by the type of its elements."""
    if issubclass(container, Mapping):
        values = shape_of(inner[1])
        return Shape() if values.is_any else Shape(values=values)
    items = shape_of(inner[0]) if issubclass(container, Collection) else Shape()
    return Shape() if items.is_any else Shape(items=items)


def _object_shape(model: type[BaseModel]) -> ObjectShape:
    fields: dict[str, Shape] = {}
    unserved: set[str] = set()
    below: dict[str, str] = {}
    for name, info in model.model_fields.items():
        key = info.alias or name
        fields[key] = shape_of(info.annotation)
        if any(isinstance(mark, Unserved) for mark in info.metadata):
            unserved.add(key)
        for one in fields[key].objects:
            below |= {deeper: f"{key}.{deeper}" for deeper in one.fields}
            below |= {deeper: f"{key}.{place}" for deeper, place in one.below.items()}
    return ObjectShape(fields, frozenset(unserved), getattr(model, "is_careful", False), below)


def _query_names(dependant: Dependant) -> Iterator[str]:
    yield from (parameter.validation_alias or parameter.alias for parameter in dependant.query_params)
    if isinstance(dependant.call, APIKeyQuery):
        yield dependant.call.model.name
    for one in dependant.dependencies:
        yield from _query_names(one)


def _printable(key: str) -> str:
    """Return a key as printable ASCII without commas; other characters are percent-encoded.

    A key that holds an API key is cut to the API key's prefix: no answer and no log line shows the secret.
    """
    shown = key[: len(PREFIX)] + MORE if PREFIX in key else key[:MAX_NAME]
    return quote(shown, safe=_PLAIN)

"""Keys of a request that mean nothing here: found by what its route declares, and told, or refused.

Clients of every age send keys that we do not have, so such a key is no error. But a misspelt one must not
pass unnoticed: the answer names it, and who prefers strictness (`Prefer: handling=strict`, RFC 7240) is
refused.
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
"""Names that one answer lists; beyond them it says only that there are more."""

LONGEST: Final = 80  # characters of a listed name
LOOKED_AT: Final = 1_000  # unknown keys, the same ones of many items counted each, after which looking ends
MORE: Final = "..."

EMPTY_BODY: Final = 4  # bytes: `{}` or `null`, which some clients send where no body is read

DEEP: Final = frozenset({"metadata"})
"""Parameters of a query that are also given as `name[key]=value`."""

_NEAR: Final = 0.6  # how alike two names are, from 0 to 1, if the one may be meant by the other
_VERY_NEAR: Final = 0.75  # if it surely is: one letter of four is wrong
_PLAIN: Final = "[]$@:"  # beside letters, digits and `_.-~`
_INDEX: Final = "[]"


Path = tuple[str | int, ...]


class Unserved:
    """Marks a field that is kept as it came, and that nothing acts on: it is told like an unknown key."""


UNSERVED: Final = Unserved()


class Careful(BaseModel):
    """A body in which a misspelt key is refused at all events: without it, something else would be done."""

    is_careful: ClassVar = True


@dataclass(frozen=True, slots=True)
class ObjectShape:
    """The keys of an object, each with what is within, as far as that has keys of its own."""

    fields: Mapping[str, "Shape"]
    unserved: frozenset[str]
    is_careful: bool
    below: Mapping[str, str]  # keys further down, each with where it belongs

    def nearest(self, key: str, *, cutoff: float = _NEAR) -> str | None:
        """The key that is probably meant by one that is none here."""
        if key in self.below:
            return self.below[key]
        return next(iter(difflib.get_close_matches(key.lower(), self.fields, n=1, cutoff=cutoff)), None)


@dataclass(frozen=True, slots=True)
class Shape:
    """Where in a value there are keys that we know of; an empty shape takes any."""

    objects: tuple[ObjectShape, ...] = ()  # of which a value may be either
    items: "Shape | None" = None
    values: "Shape | None" = None

    @property
    def is_any(self) -> bool:
        return not self.objects and self.items is None and self.values is None

    def unknown(self, value: Any, path: Path) -> Iterator["Unknown"]:
        """Yield what is in a value and means nothing, the outer keys first."""
        if isinstance(value, list) and self.items is not None:
            for index, item in enumerate(value):
                yield from self.items.unknown(item, (*path, index))
        elif isinstance(value, dict) and self.objects:
            yield from _unknown_in(self._nearest_object(value), value, path)
        elif isinstance(value, dict) and self.values is not None:
            for key, item in value.items():
                yield from self.values.unknown(item, (*path, key))

    def _nearest_object(self, value: Mapping[str, Any]) -> ObjectShape:
        if len(self.objects) == 1:
            return self.objects[0]
        return min(self.objects, key=lambda one: len(value.keys() - one.fields.keys()))


@dataclass(frozen=True, slots=True)
class Unknown:
    """A key that means nothing, and why."""

    path: Path  # from `body` or `query` on
    known: ObjectShape | None = None  # what would have been known there
    is_unserved: bool = False

    @property
    def name(self) -> str:
        """The key as it is told: printable, and short whatever was sent."""
        first, *rest = self.path
        said = ".".join(_INDEX if isinstance(part, int) else _printable(part) for part in rest)
        said = said.replace(f".{_INDEX}", _INDEX) or str(first)
        said = f"?{said}" if first == "query" else said
        return said if len(said) <= LONGEST else said[: LONGEST - len(MORE)] + MORE

    @property
    def is_near_miss(self) -> bool:
        """Whether it is so near to a key that matters that it must not be ignored."""
        if self.known is None or not self.known.is_careful or self.is_unserved:
            return False
        return self.known.nearest(str(self.path[-1])[:LONGEST], cutoff=_VERY_NEAR) is not None

    def fault(self) -> dict[str, Any]:
        """What is said of it to a caller who is refused."""
        key = self.name.removeprefix("?").rpartition(".")[2]
        if self.is_unserved:
            message = f"`{key}` is kept, but nothing here acts on it."
        elif self.known is None:
            message = "No body is read here."
        else:
            nearest = self.known.nearest(str(self.path[-1])[:LONGEST])
            meant = f" Did you mean `{nearest}`?" if nearest else ""
            message = f"`{key}` is not known here.{meant}"
        shown = tuple(part if isinstance(part, int) else _printable(part) for part in self.path)
        return {"type": "unknown_key", "msg": message, "loc": shown}


@dataclass(slots=True)
class Ignored:
    """What one request has said in vain."""

    found: dict[str, Unknown] = field(default_factory=dict)  # by name
    has_more: bool = False

    def add(self, unknown: Iterable[Unknown]) -> None:
        """Note keys, as many as are told, and that there are more."""
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
        """Return if the request may go on as if these keys had not been sent.

        Raises:
            RequestValidationError: the caller prefers to be refused, or must be, as one of the keys is
                nearly another that changes what is done.
        """
        refused = [one for one in self.found.values() if is_strict or one.is_near_miss]
        if refused:
            raise RequestValidationError([one.fault() for one in refused])


@dataclass(frozen=True, slots=True)
class KnownKeys:
    """The keys that a route knows."""

    query: ObjectShape
    body: Shape

    @classmethod
    def of(cls, dependant: Dependant, body: Any) -> "KnownKeys":
        """What an endpoint and all it depends on declare.

        Args:
            body: the annotation of the body; None if there is none.
        """
        names = dict.fromkeys(_query_names(dependant), Shape())
        return cls(ObjectShape(names, frozenset(), is_careful=False, below={}), shape_of(body))

    def knows_in_query(self, name: str) -> bool:
        """Whether an endpoint reads a parameter of a query."""
        base, bracket, _ = name.partition("[")
        return name in self.query.fields or (bool(bracket) and base in DEEP & self.query.fields.keys())

    def unknown_in_query(self, query: QueryParams) -> Iterator[Unknown]:
        """Yield parameters of a query that no endpoint reads."""
        for name in query:
            if not self.knows_in_query(name):
                yield Unknown(("query", name), self.query)

    def unknown_in_body(self, value: Any) -> Iterator[Unknown]:
        """Yield keys of a body, at any depth, that nothing reads."""
        return self.body.unknown(value, ("body",))


def unread_body(headers: Headers) -> Iterator[Unknown]:
    """Yield the body itself, if a request announces one where none is read."""
    length = headers.get("content-length", "")
    has_length = length.isascii() and length.isdecimal()
    if "transfer-encoding" in headers or (has_length and int(length) > EMPTY_BODY):
        yield Unknown(("body",))


def prefers_strictness(headers: Headers) -> bool:
    """Whether a request prefers strict handling; of several opinions the first counts (RFC 7240 §2, §4.4)."""
    for line in headers.getlist("prefer"):
        for preference in line.split(","):
            name, _, value = preference.partition(";")[0].partition("=")
            if name.strip().lower() == "handling":
                return value.strip().strip('"').lower() == "strict"
    return False


def shape_of(annotation: Any) -> Shape:
    """Where in a value of some type there are keys that we know of."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return shape_of(inner[0])
    if origin in {Union, types.UnionType}:
        return _either([shape_of(one) for one in inner])
    if isinstance(origin, type):
        return _shape_within(origin, inner)
    if isinstance(annotation, type) and issubclass(annotation, RootModel):
        return shape_of(annotation.model_fields["root"].annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return Shape(objects=(_object_shape(annotation),))
    return Shape()


def _shape_within(container: type, inner: Sequence[Any]) -> Shape:
    """As `shape_of`, of a container of something."""
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


def _either(shapes: Sequence[Shape]) -> Shape:
    """What one of several types may have."""
    return Shape(
        objects=tuple(one for shape in shapes for one in shape.objects),
        items=next((shape.items for shape in shapes if shape.items is not None), None),
        values=next((shape.values for shape in shapes if shape.values is not None), None),
    )


def _unknown_in(known: ObjectShape, value: Mapping[str, Any], path: Path) -> Iterator[Unknown]:
    for key, item in value.items():
        if key not in known.fields:
            yield Unknown((*path, key), known)
        elif item and key in known.unserved:
            yield Unknown((*path, key), known, is_unserved=True)
    for key, shape in known.fields.items():
        if not shape.is_any and key in value:
            yield from shape.unknown(value[key], (*path, key))


def _query_names(dependant: Dependant) -> Iterator[str]:
    yield from (parameter.validation_alias or parameter.alias for parameter in dependant.query_params)
    if isinstance(dependant.call, APIKeyQuery):
        yield dependant.call.model.name
    for one in dependant.dependencies:
        yield from _query_names(one)


def _printable(key: str) -> str:
    """A key as printable ASCII, without commas: percent-encoded where it is anything else.

    An API key that got where a name belongs is told by its beginning only, for the log must not have it.
    """
    shown = key[: len(PREFIX)] + MORE if PREFIX in key else key[:LONGEST]
    return quote(shown, safe=_PLAIN)

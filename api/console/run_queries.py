"""The query of a list of runs, as the address of its page has it."""

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlencode

from fastapi.exceptions import RequestValidationError
from starlette.datastructures import QueryParams

from api.requests import metadata as notes
from shared.errors import InvalidRequestError
from shared.lifecycle import ACTIVE, Reason, RunKind, RunStatus
from shared.rows.metadata import MOST
from shared.rows.paging import Part, Position
from shared.runs.lists import RunFilter, RunList

Value = TypeVar("Value", bound=StrEnum)

PAGE: Final = 50  # runs on a page
LEAST_PREFIX: Final = 4  # hex digits of an id, so that few runs begin with them
LONGEST: Final = 600  # characters of a field

_HEX: Final = re.compile(r"[0-9a-f]{4,32}")
_CURSOR: Final = re.compile(r"(-?\d{1,17})-([0-9a-f]{32})")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class RunQuery:
    """The fields of the filter, as they were given, and what they mean."""

    kind: RunKind = RunKind.ASSISTANT
    statuses: tuple[RunStatus, ...] = ()
    subject: str = ""
    thread: str = ""
    created_after: str = ""
    created_before: str = ""
    reason: str = ""
    metadata: str = ""
    id: str = ""
    at: str = ""  # the position that the page follows
    faults: tuple[str, ...] = ()
    wanted: RunFilter = field(default_factory=RunFilter)
    subject_id: uuid.UUID | None = None
    position: Position | None = None

    @classmethod
    def of(cls, query: QueryParams) -> Self:
        """Read an address; what is wrong with it is in `faults`."""
        given = {name: query.get(name, "")[:LONGEST].strip() for name in _TEXTS}
        faults: list[str] = []
        unknown = sorted(set(query) - {*_TEXTS, "kind", "status"})
        faults += [f"There is no filter `{name[:LONGEST]}`." for name in unknown]
        kind = _one_of(RunKind, query.get("kind", ""), "kind of runs", faults) or RunKind.ASSISTANT
        wanted_statuses = {_one_of(RunStatus, one, "status", faults) for one in query.getlist("status")}
        statuses = tuple(status for status in RunStatus if status in wanted_statuses)
        wanted = RunFilter(
            statuses=frozenset(statuses) or None,
            thread_id=_uuid(given["thread"], "thread", faults),
            created_after=_instant(given["created_after"], faults),
            created_before=_instant(given["created_before"], faults),
            metadata=noted_in(given["metadata"], faults),
            reason=_one_of(Reason, given["reason"], "reason", faults),
            ids=_range(given["id"], faults),
        )
        position = _position(given["at"], faults)
        subject_id = _uuid(given["subject"], "assistant", faults)
        return cls(
            kind=kind,
            statuses=statuses,
            **given,
            faults=tuple(faults),
            wanted=wanted,
            subject_id=subject_id,
            position=position,
        )

    def listed(self, organization_id: uuid.UUID) -> RunList:
        """Return the list that the runs are of."""
        return RunList(organization_id, self.kind, self.subject_id)

    def part(self, limit: int = PAGE) -> Part:
        """Return the part of the list."""
        return Part(limit=limit, after=self.position, is_walk=True)

    def before(self, instant: datetime) -> "RunQuery":
        """Return the same query, without runs that are created later."""
        until = self.wanted.created_before
        earlier = instant if until is None else min(until, instant)
        return replace(self, wanted=replace(self.wanted, created_before=earlier))

    def active(self) -> "RunQuery":
        """Return the same query, without runs that have ended."""
        chosen = ACTIVE if self.wanted.statuses is None else self.wanted.statuses & ACTIVE
        return replace(self, wanted=replace(self.wanted, statuses=chosen))

    def pairs(self, **more: str) -> list[tuple[str, str]]:
        """Return the fields that have a value, for a form or an address."""
        values: Mapping[str, Any] = {name: getattr(self, name) for name in _TEXTS} | more
        kept = [(name, value) for name, value in values.items() if value]
        return [("kind", self.kind.value), *(("status", status.value) for status in self.statuses), *kept]

    def query(self, **more: str) -> str:
        """Return the query of an address that lists the same runs."""
        return urlencode(self.pairs(**more))


_TEXTS: Final = (
    "subject",
    "thread",
    "created_after",
    "created_before",
    "reason",
    "metadata",
    "id",
    "at",
)


def cursor_of(rows: Sequence[Any]) -> str:
    """Return the position of the last row, for the address of the next page."""
    last = rows[-1]
    return f"{(last.created_at - _EPOCH) // _MICROSECOND}-{last.id.hex}"


def _position(text: str, faults: list[str]) -> Position | None:
    if not text:
        return None
    match = _CURSOR.fullmatch(text)
    try:
        if match is not None:
            return Position(_EPOCH + int(match[1]) * _MICROSECOND, uuid.UUID(match[2]))
    except OverflowError:
        match = None
    faults.append("There is no such page; begin with the first.")
    return None


def _one_of(values: type[Value], text: str, what: str, faults: list[str]) -> Value | None:
    """Return the value that a text names, in whatever case; None for the empty text."""
    if not text:
        return None
    found = next((value for value in values if value.casefold() == text.casefold()), None)
    if found is None:
        faults.append(f"There is no {what} `{text[:LONGEST]}`.")
    return found


def _uuid(text: str, what: str, faults: list[str]) -> uuid.UUID | None:
    try:
        return uuid.UUID(text) if text else None
    except ValueError:
        faults.append(f"The {what} is no id.")
        return None


def _instant(text: str, faults: list[str]) -> datetime | None:
    try:
        instant = datetime.fromisoformat(text) if text else None
    except ValueError:
        faults.append("A time has the form 2026-01-31T13:00, in UTC.")
        return None
    if instant is not None and instant.tzinfo is None:
        return instant.replace(tzinfo=UTC)
    return instant


def noted_in(text: str, faults: list[str]) -> Mapping[str, str]:
    """Return the metadata that a list is filtered by; what is wrong with it is added to the faults."""
    pairs = [part.strip().partition("=") for part in text[:LONGEST].split(",") if part.strip()]
    if len(pairs) > MOST:
        faults.append(f"Metadata has {MOST} pairs at the most.")
        return {}
    if any(not key or not equals for key, equals, _ in pairs):
        faults.append("Metadata has the form key=value, key=value.")
        return {}
    try:
        return notes.in_filter({key: value for key, _, value in pairs})
    except RequestValidationError as error:
        faults += [str(fault["msg"]) for fault in error.errors()]
        return {}


def _range(text: str, faults: list[str]) -> tuple[uuid.UUID, uuid.UUID] | None:
    digits = text.replace("-", "").lower()
    if not digits:
        return None
    if not _HEX.fullmatch(digits):
        faults.append(f"The beginning of an id has {LEAST_PREFIX} hex digits at least.")
        return None
    return uuid.UUID(digits.ljust(32, "0")), uuid.UUID(digits.ljust(32, "f"))


def position_of(text: str) -> Position | None:
    """Return the position that the address of a page names; None begins.

    Raises:
        InvalidRequestError: there is no such position.
    """
    faults: list[str] = []
    position = _position(text[:LONGEST], faults)
    if faults:
        raise InvalidRequestError(faults[0])
    return position

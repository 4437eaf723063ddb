"""Lists as answers: in one piece where they are small, else bit by bit, so that none fills the memory."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, TypeVar

import orjson
from pydantic import BaseModel
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.admission import Gate
from api.budget import Budget, Hold
from api.responses import PieceStream
from shared import sizes
from shared.db import Sessions, unit_of_work
from shared.keys.principal import Principal
from shared.models import Base

BATCH_BYTES: Final = 1_048_576
"""Bytes of rows that are loaded at once; a single larger row is loaded alone."""

LOOK_AHEAD: Final = 50  # rows that are measured at once

Done = TypeVar("Done")

Show = Callable[[Session, Sequence[Any]], Sequence[BaseModel | dict[str, Any]]]
"""Makes of loaded rows what is shown of them."""


@dataclass(frozen=True, slots=True)
class Lists:
    """Makes the answers to one request."""

    sessions: Sessions
    readers: Gate  # the lane of what is read while it is sent
    budget: Budget

    def answer(
        self,
        session: Session,
        principal: Principal,
        rows: Sequence[Base],
        show: Show,
        *,
        key: str | None = None,
        more: Mapping[str, Any] = MappingProxyType({}),
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> Response:
        """Answer with a list of rows.

        Args:
            rows: which, in order; their large values need not be loaded.
            show: makes of rows what is shown; called in a thread, perhaps in a session of its own.
            key: the list's name in an object; None for a bare array.
            more: what else that object holds, by name.
            headers: of the answer.
        """
        before, after = _frame(key, more)
        if not rows:
            return _whole(before + after, headers)
        model = type(rows[0])
        ids = [row.id for row in rows]  # type: ignore[attr-defined]  # every listed table has one
        if sizes.are_small(session, model, ids, most=BATCH_BYTES):
            items = _joined(show(session, sizes.load(session, model, ids)))
            return _whole(before + items + after, headers)
        pieces = _Pieces(self, principal, model, show)
        return _ListStream(pieces.between(before, ids, after), headers=headers)


@dataclass(frozen=True, slots=True)
class _Pieces:
    """A list that is read while it is sent, in transactions of its own: no connection waits for a reader."""

    lists: Lists
    principal: Principal
    model: type[Base]
    show: Show

    async def between(self, before: bytes, ids: Sequence[Any], after: bytes) -> AsyncGenerator[bytes]:
        with self.lists.budget.holding(self.principal.tenant) as hold:
            yield before
            async for piece in self._pieces(ids, hold):
                yield piece
                del piece
            yield after

    async def _pieces(self, ids: Sequence[Any], hold: Hold) -> AsyncGenerator[bytes]:
        separator = b""
        for start in range(0, len(ids), LOOK_AHEAD):
            part = ids[start : start + LOOK_AHEAD]
            for batch in await self._in_turn(self._measure, part):
                piece = await hold.read(BATCH_BYTES, self.lists.readers, self._read, batch)
                hold.grow(len(piece))
                if piece:
                    piece = separator + piece
                    yield piece
                    separator = b","
                del piece

    async def _in_turn(self, work: Callable[..., Done], ids: Sequence[Any]) -> Done:
        return await self.lists.readers.run(self.principal.tenant, work, ids)

    def _measure(self, ids: Sequence[Any]) -> list[list[Any]]:
        with unit_of_work(self.lists.sessions) as session:
            return sizes.batches(session, self.model, ids, most=BATCH_BYTES)

    def _read(self, ids: Sequence[Any]) -> bytes:
        with unit_of_work(self.lists.sessions) as session:
            return _joined(self.show(session, sizes.load(session, self.model, ids)))


class _ListStream(PieceStream):
    """A JSON body that comes bit by bit."""

    media_type = "application/json"


def shown_as(view: type[BaseModel]) -> Show:
    """Show rows as a view reads them from their attributes."""
    return lambda _session, rows: [view.model_validate(row) for row in rows]


def _whole(body: bytes, headers: Mapping[str, str]) -> Response:
    return Response(body, headers=headers, media_type="application/json")


def _joined(items: Sequence[BaseModel | dict[str, Any]]) -> bytes:
    return b",".join(map(_encoded, items))


def _encoded(item: Any) -> bytes:
    return item.model_dump_json(by_alias=True).encode() if isinstance(item, BaseModel) else orjson.dumps(item)


def _frame(key: str | None, more: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """What stands before and after the items."""
    if key is None:
        return b"[", b"]"
    others = b"".join(b',"%b":%b' % (name.encode(), _encoded(value)) for name, value in more.items())
    return b'{"%b":[' % key.encode(), b"]" + others + b"}"

"""List responses: a small list in one piece, a large one as a stream in bounded memory."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import orjson
from pydantic import BaseModel
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.streaming.responses import PieceStream
from api.traffic.admission import Gate
from api.traffic.budget import Budget
from shared.db import Sessions, unit_of_work
from shared.keys.principal import Principal
from shared.models import Base
from shared.rows import sizes

BATCH_BYTES: Final = 1_048_576
"""Bytes of rows that are loaded at once; a single larger row is loaded alone."""

LOOK_AHEAD: Final = 50  # rows that are measured at once

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
        before, after = b"[", b"]"
        if key is not None:
            others = (b',"%b":%b' % (name.encode(), _encoded(value)) for name, value in more.items())
            before, after = b'{"%b":[' % key.encode(), b"]" + b"".join(others) + b"}"
        items = b""
        if rows:
            model = type(rows[0])
            ids = [row.id for row in rows]  # type: ignore[attr-defined]  # every listed table has one
            if not sizes.are_small(session, model, ids, most=BATCH_BYTES):
                pieces = self._pieces(principal, model, ids, show, before=before, after=after)
                return _ListStream(pieces, headers=headers)
            items = _joined(show(session, sizes.load(session, model, ids)))
        return Response(before + items + after, headers=headers, media_type="application/json")

    async def _pieces(
        self,
        principal: Principal,
        model: type[Base],
        ids: Sequence[Any],
        show: Show,
        *,
        before: bytes,
        after: bytes,
    ) -> AsyncGenerator[bytes]:
        """Read a list while it is sent, in transactions of its own: no connection waits for a reader."""

        def measure(part: Sequence[Any]) -> list[list[Any]]:
            with unit_of_work(self.sessions) as session:
                return sizes.batches(session, model, part, most=BATCH_BYTES)

        def read(batch: Sequence[Any]) -> bytes:
            with unit_of_work(self.sessions) as session:
                return _joined(show(session, sizes.load(session, model, batch)))

        separator = b""
        with self.budget.holding(principal.tenant) as hold:
            yield before
            for start in range(0, len(ids), LOOK_AHEAD):
                part = ids[start : start + LOOK_AHEAD]
                for batch in await self.readers.run(principal.tenant, measure, part):
                    piece = await hold.read(BATCH_BYTES, self.readers, read, batch)
                    hold.grow(len(piece))
                    if piece:
                        piece = separator + piece
                        yield piece
                        separator = b","
                    del piece
            yield after


class _ListStream(PieceStream):
    """A JSON body that comes bit by bit."""

    media_type = "application/json"


def shown_as(view: type[BaseModel]) -> Show:
    """Show rows as a view reads them from their attributes."""
    return lambda _session, rows: [view.model_validate(row) for row in rows]


def _joined(items: Sequence[BaseModel | dict[str, Any]]) -> bytes:
    return b",".join(map(_encoded, items))


def _encoded(item: Any) -> bytes:
    return item.model_dump_json(by_alias=True).encode() if isinstance(item, BaseModel) else orjson.dumps(item)

"""Cursors: signed positions in a list. A cursor is valid for one list with its filters."""

import base64
import binascii
import hashlib
import hmac
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import orjson
from fastapi import Depends, Query, Request
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.dependencies import PrincipalDep
from api.routing import KeyedRoute
from shared.errors import InvalidRequestError
from shared.models import Installation
from shared.rows.paging import Page, Part, Position

PLACING: Final = frozenset({"page", "page_size", "limit", "offset", "cursor"})
"""Parameters that say which part of a list is wanted, and not of which list."""

MAX_LENGTH: Final = 200  # characters that are looked at

Cursor = Annotated[
    str | None,
    Query(
        max_length=MAX_LENGTH,
        description="The `next_cursor` of the last answer; empty: from the beginning. Unlike pages, cursors "
        "neither repeat nor skip items when others are created or deleted. A cursor is valid for one list "
        "with its filters.",
    ),
]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_VERSION: Final = b"\x01"
_BODY: Final = 1 + 8 + 16  # bytes: version, microseconds, id
_SEAL: Final = 16  # bytes


@dataclass(frozen=True, slots=True)
class Binding:
    """The list that a cursor is good for: an organization's, at a path, with its filters.

    The seal is by the installation's secret: nobody else makes a cursor, or uses one for another list.
    """

    what: bytes  # the organization, the path and the filters

    def part(self, session: Session, cursor: str | None, *, limit: int, offset: int) -> Part:
        """The part that was asked for: at an offset, or what follows a cursor; an empty one begins.

        Raises:
            InvalidRequestError: the cursor was not made for this list, or not by this installation.
        """
        if cursor is None:
            return Part(limit=limit, offset=offset)
        if not cursor:
            return Part(limit=limit, is_walk=True)
        try:
            sealed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            sealed = b""
        body, seal = sealed[:_BODY], sealed[_BODY:]
        is_ours = hmac.compare_digest(seal, self._seal(session, body))
        if not is_ours or len(body) != _BODY or body[:1] != _VERSION:
            raise InvalidRequestError(
                "This is no cursor of this list with these filters; begin anew without one.",
                path=("query", "cursor"),
            )
        microseconds = int.from_bytes(body[1:9], signed=True)
        position = Position(_EPOCH + microseconds * _MICROSECOND, uuid.UUID(bytes=body[9:]))
        return Part(limit=limit, after=position, is_walk=True)

    def after(self, session: Session, page: Page[object]) -> str | None:
        """Return the cursor that goes on after a page; None if nothing follows."""
        if not page.has_more or not page.rows:
            return None
        last: Position = page.rows[-1]  # type: ignore[assignment]  # it has both, as every listed row
        microseconds = (last.created_at - _EPOCH) // _MICROSECOND
        body = _VERSION + microseconds.to_bytes(8, signed=True) + last.id.bytes
        return base64.urlsafe_b64encode(body + self._seal(session, body)).rstrip(b"=").decode()

    def _seal(self, session: Session, body: bytes) -> bytes:
        secret = session.scalar(select(Installation.channel_secret)) or b""
        key = hashlib.blake2b(b"cursor", key=secret).digest()
        return hashlib.blake2b(body + self.what, key=key, digest_size=_SEAL).digest()


async def _binding(request: Request, principal: PrincipalDep) -> Binding:
    route: KeyedRoute = request.scope["route"]
    filters = sorted(
        (name, value)
        for name, value in request.query_params.multi_items()
        if (value or "[" in name) and name not in PLACING and route.keys.knows_in_query(name)
    )
    return Binding(orjson.dumps([principal.organization_id, request.scope["path"], filters]))


BindingDep = Annotated[Binding, Depends(_binding)]

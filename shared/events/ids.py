"""Ids of events, which say when they were made: so an event is looked for among the days around it."""

import os
import time
import uuid
from datetime import UTC, date, datetime
from typing import Final

_ORDERED: Final = 7
"""The version of RFC 9562 that begins with the time: 48 bits, in milliseconds since 1970."""

_RANDOM_BYTES: Final = 10
_MARKS: Final = (0xF << 76) | (0b11 << 62)
_MARKED: Final = (_ORDERED << 76) | (0b10 << 62)
"""The bits of version and variant, and their values."""

_LAST_INSTANT: Final = int(datetime(9999, 1, 1, tzinfo=UTC).timestamp() * 1000)
"""Milliseconds since 1970; a caller may name an id with any."""


def new_event_id() -> uuid.UUID:
    """Make an id of version 7, with 74 random bits."""
    random = int.from_bytes(os.urandom(_RANDOM_BYTES))
    value = (time.time_ns() // 1_000_000) << 80 | random
    return uuid.UUID(int=value & ~_MARKS | _MARKED)


def day_of_event_id(event_id: uuid.UUID) -> date | None:
    """The day, in UTC, on which the id was made; None if it does not say."""
    instant = event_id.int >> 80
    if event_id.version != _ORDERED or instant > _LAST_INSTANT:
        return None
    return datetime.fromtimestamp(instant / 1000, UTC).date()

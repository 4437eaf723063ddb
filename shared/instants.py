"""Instants on the wire."""

from datetime import UTC, datetime


def rfc3339(instant: datetime) -> str:
    """An aware instant as UTC with microseconds and `Z`."""
    return instant.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def rfc3339_or_none(instant: datetime | None) -> str | None:
    return None if instant is None else rfc3339(instant)

"""A run's events as text, one line each."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from cli.client import Event

WIDTH: Final = 72  # characters of an event's text


def line_of(event: Event, *, since: datetime) -> str:
    """The event's number, milliseconds since the creation of the run, type, and gist."""
    milliseconds = (event.created_at - since).total_seconds() * 1000
    return f"{event.seq:>5}  {milliseconds:>+9.0f} ms  {event.type:<26} {gist(event.payload)}".rstrip()


def gist(payload: Mapping[str, Any]) -> str:
    """The part of a payload that people look for, in one line."""
    match payload:
        case {"type": "RepeatedTextChunkEvent", "token": str(token)}:
            said = f"again: {token!r}"
        case {"token": str(token)}:
            said = repr(token)
        case {"output_task_output": {"value": value}}:
            said = str(value)
        case {"status": status, "status_detail": {"reason": reason, "message": message}}:
            said = f"{status} ({reason}): {message}"
        case {"status": status}:
            said = str(status)
        case {"input_token_count": taken, "output_token_count": given}:
            said = f"{taken} tokens in, {given} out"
        case _:
            said = ""
    return shortened(said)


def shortened(text: str) -> str:
    """A text in one line of at most `WIDTH` characters."""
    line = " ".join(text.split())
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…"

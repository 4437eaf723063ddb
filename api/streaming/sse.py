"""Server-sent events: a stream of event batches as an HTTP answer."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from api.streaming.batch import Batch, Encode
from api.streaming.responses import LiveStream

HEARTBEAT: Final = b": still here\n\n"

_LINE_ENDS: Final = {
    character.encode(): f"\\u{ord(character):04x}".encode() for character in "\u0085\u2028\u2029"
}
"""Legal in JSON, but line ends to clients that split text as Python does."""


def on_one_line(data: bytes) -> bytes:
    """JSON that no client takes for several lines."""
    if data.isascii():
        return data
    for character, escape in _LINE_ENDS.items():
        data = data.replace(character, escape)
    return data


def frame(seq: int, data: bytes) -> bytes:
    """One event: its number, by which a reader resumes, and its JSON on one line."""
    return b"id: %d\ndata: %b\n\n" % (seq, on_one_line(data))


class EventStream(LiveStream):
    """Sends batches as they come; an empty one goes out as a comment that keeps the line alive.

    `encode` makes the frame of an event. Readers with the same function share what it makes of a batch.
    """

    media_type = "text/event-stream"

    def __init__(self, batches: AsyncGenerator[Batch], *, encode: Encode) -> None:
        super().__init__(_frames(batches, encode))


async def _frames(batches: AsyncGenerator[Batch], encode: Encode) -> AsyncGenerator[bytes]:
    async with aclosing(batches):
        async for batch in batches:
            frames = batch.encoded(encode) or HEARTBEAT
            del batch  # kept while the reader takes what is made of it, it would be twice there
            yield frames
            del frames

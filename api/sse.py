"""Server-sent events: a stream of event batches as an HTTP answer."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

from starlette.responses import StreamingResponse
from starlette.types import Send

from api.mailbox import Batch
from shared.events.log import StoredEvent

HEARTBEAT: Final = b": still here\n\n"

HEADERS: Final = {
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",  # nginx would hold events back
}

_LINE_ENDS: Final = {
    character.encode(): f"\\u{ord(character):04x}".encode() for character in "\u0085\u2028\u2029"
}
"""Legal in JSON, but line ends to clients that split text as Python does."""

Encode = Callable[[StoredEvent], bytes]


def frame(seq: int, data: bytes) -> bytes:
    """One event: its number, by which a reader resumes, and its JSON on one line."""
    for character, escape in _LINE_ENDS.items():
        data = data.replace(character, escape)
    return b"id: %d\ndata: %b\n\n" % (seq, data)


class EventStream(StreamingResponse):
    """Sends batches as they come; an empty one goes out as a comment that keeps the line alive."""

    media_type = "text/event-stream"

    def __init__(self, batches: AsyncGenerator[Batch], *, encode: Encode) -> None:
        self._frames = _frames(batches, encode)
        super().__init__(self._frames, headers=HEADERS)

    async def stream_response(self, send: Send) -> None:
        async with aclosing(self._frames):  # whoever leaves, leaves no subscription behind
            await super().stream_response(send)


async def _frames(batches: AsyncGenerator[Batch], encode: Encode) -> AsyncGenerator[bytes]:
    async with aclosing(batches):
        async for batch in batches:
            yield b"".join(frame(event.seq, encode(event)) for event in batch) or HEARTBEAT

"""Responses: JSON by orjson, and streams."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Final

import orjson
from anyio import CancelScope
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

PIECE: Final = 65_536  # bytes

SMALL: Final = 8192
"""Bytes of a piece that may be in a buffer while the next one is made."""

UNBUFFERED: Final = {
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",  # nginx would hold it back
}


class JsonResponse(Response):
    """A JSON body of anything orjson knows: dicts, lists, UUIDs, text, numbers."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content)


class InPieces(Response):
    """A body that is at hand, of which a connection takes no more at once than its reader does."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for start in range(0, len(self.body), PIECE):
            await send(
                {
                    "type": "http.response.body",
                    "body": self.body[start : start + PIECE],
                    "more_body": start + PIECE < len(self.body),
                }
            )


class PieceStream(StreamingResponse):
    """A body that comes bit by bit; whoever leaves early, leaves nothing behind.

    The next piece is asked for when the reader has taken the last one, but for what is small: so what a
    piece takes of a budget is given back when it is out of the process, not when it is in a buffer.
    """

    def __init__(self, pieces: AsyncGenerator[bytes], *, headers: Mapping[str, str] | None = None) -> None:
        self._pieces = pieces
        super().__init__(pieces, headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the end, or until the reader leaves."""
        del scope

        async def until_left() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        with CancelScope() as sending:

            def end(_: asyncio.Task[None]) -> None:
                sending.cancel()

            leaving = asyncio.create_task(until_left())
            leaving.add_done_callback(end)
            try:
                await self.stream_response(send)
            finally:
                leaving.remove_done_callback(end)
                leaving.cancel()
        if leaving.done() and not leaving.cancelled():
            leaving.result()
        if self.background is not None:
            await self.background()

    async def stream_response(self, send: Send) -> None:
        async with aclosing(self._pieces):
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            async for piece in self._pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                if len(piece) > SMALL:  # the server waits for the reader before it writes, not after
                    await send({"type": "http.response.body", "body": b"", "more_body": True})
                del piece  # the next one may be long in coming, and its share of memory is another's
            await send({"type": "http.response.body", "body": b"", "more_body": False})


class LiveStream(PieceStream):
    """A body that goes on while its run does.

    What is to be done after the answer is done before its body: that may well wait for it.
    """

    def __init__(self, chunks: AsyncGenerator[bytes]) -> None:
        super().__init__(chunks, headers=UNBUFFERED)

    async def stream_response(self, send: Send) -> None:
        after_answer, self.background = self.background, None
        if after_answer is not None:
            await after_answer()
        await super().stream_response(send)

"""Answers: JSON, rendered by orjson, and streams."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

import orjson
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

PIECE: Final = 65_536  # bytes

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


class LiveStream(StreamingResponse):
    """A body that comes bit by bit; whoever leaves early, leaves no subscription behind.

    What is to be done after the answer is done before its body: that may well wait for it.
    """

    def __init__(self, chunks: AsyncGenerator[bytes]) -> None:
        self._chunks = chunks
        super().__init__(chunks, headers=UNBUFFERED)

    async def stream_response(self, send: Send) -> None:
        after_answer, self.background = self.background, None
        if after_answer is not None:
            await after_answer()
        async with aclosing(self._chunks):
            await super().stream_response(send)

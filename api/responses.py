"""Answers: JSON, rendered by orjson, and streams."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

import orjson
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

UNBUFFERED: Final = {
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",  # nginx would hold it back
}


class JsonResponse(Response):
    """A JSON body of anything orjson knows: dicts, lists, UUIDs, text, numbers."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content)


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

"""A stream of events as bare lines of JSON: clients parse every line (contract: watsonx §5.1)."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import StreamingResponse
from starlette.types import Send

from api.mailbox import Batch
from api.sse import HEADERS
from api.watsonx.events import Translator


class EventLines(StreamingResponse):
    """Sends events as they come, to the run's end or for so many seconds."""

    media_type = "text/event-stream; charset=utf-8"

    def __init__(
        self, batches: AsyncGenerator[Batch], translator: Translator, *, seconds: float | None
    ) -> None:
        self._lines = _lines(batches, translator, seconds)
        super().__init__(self._lines, headers=HEADERS)

    async def stream_response(self, send: Send) -> None:
        async with aclosing(self._lines):  # whoever leaves, leaves no subscription behind
            await super().stream_response(send)


async def _lines(
    batches: AsyncGenerator[Batch], translator: Translator, seconds: float | None
) -> AsyncGenerator[bytes]:
    clock = asyncio.get_running_loop().time
    deadline = None if seconds is None else clock() + seconds
    async with aclosing(batches):
        while True:
            left = None if deadline is None else max(0.0, deadline - clock())
            try:
                batch = await asyncio.wait_for(anext(batches), left)
            except (StopAsyncIteration, TimeoutError):
                return
            if lines := b"".join(map(translator.lines, batch)):
                yield lines

"""Event streams: responses of bare JSON lines, or of one JSON array."""

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from api.streaming.batch import Batch
from api.streaming.responses import LiveStream
from api.streaming.streams import StreamHub
from api.watsonx.translator import Translator
from shared.keys.principal import Principal
from shared.models import Run
from shared.rows.sizes import unload

NEEDED: Final = frozenset({"structure_ids", "model"})
"""Columns of a run that its events are made of."""

STILL_HERE: Final = b" "
"""Space, which JSON ignores. Clients parse every line: an empty line would fail them."""


class EventLines(LiveStream):
    """Sends each event on a line of its own, and nothing else: clients parse every line.

    While nothing happens, space before the next line keeps the connection alive. A stream that ends before
    its run, after such space, ends with a line that says so.
    """

    media_type = "text/event-stream; charset=utf-8"

    def __init__(self, batches: AsyncGenerator[Batch], run: Run, *, heartbeat: float) -> None:
        """Make the response; `heartbeat` is in seconds, and no silence is longer than two of them."""
        unload(run, but=NEEDED)
        super().__init__(_lines(batches, Translator(run), heartbeat))


class EventArray(LiveStream):
    """Sends the events as one array of JSON, with space in it while nothing happens."""

    media_type = "application/json"

    def __init__(self, batches: AsyncGenerator[Batch], run: Run, *, heartbeat: float) -> None:
        """Make the response, as `EventLines`."""
        unload(run, but=NEEDED)
        super().__init__(_array(batches, Translator(run), heartbeat))


async def _lines(
    batches: AsyncGenerator[Batch], translator: Translator, heartbeat: float
) -> AsyncGenerator[bytes]:
    is_line_begun = False
    async with aclosing(_encoded(batches, translator, heartbeat)) as encoded:
        async for events in encoded:
            is_line_begun = not events
            chunk = b"".join(event + b"\n" for event in events) or STILL_HERE
            del events
            yield chunk
            del chunk
    if is_line_begun:
        yield translator.broken_off() + b"\n"


async def _array(
    batches: AsyncGenerator[Batch], translator: Translator, heartbeat: float
) -> AsyncGenerator[bytes]:
    before = b"["
    async with aclosing(_encoded(batches, translator, heartbeat)) as encoded:
        async for events in encoded:
            chunk = before + b",".join(events) if events else STILL_HERE
            before = b"," if events else before
            del events
            yield chunk
            del chunk
    yield b"[]" if before == b"[" else b"]"


async def _encoded(
    batches: AsyncGenerator[Batch], translator: Translator, heartbeat: float
) -> AsyncGenerator[list[bytes]]:
    """Yield the encoded events of each batch; an empty list after a heartbeat without any."""
    clock = asyncio.get_running_loop().time
    sent_at = clock()
    async with aclosing(batches):
        async for batch in batches:
            events = translator.translated(batch)
            del batch
            if events or clock() - sent_at >= heartbeat:
                yield events
                sent_at = clock()
            del events


async def stored_then_live(
    hub: StreamHub, run_id: uuid.UUID, *, stored: int, principal: Principal, seconds: float
) -> AsyncGenerator[Batch]:
    """Yield the stored events of a run, however long that takes; then the events of the next seconds."""
    start, is_last = 0, False
    async with aclosing(hub.replay(run_id, until=stored, principal=principal)) as replayed:
        async for batch in replayed:
            if batch:
                start, is_last = batch[-1].seq + 1, batch[-1].is_last
            yield batch
            del batch
    if is_last:
        return
    async with aclosing(hub.follow(run_id, start=start, principal=principal, seconds=seconds)) as live:
        async for batch in live:
            yield batch
            del batch

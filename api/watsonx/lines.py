"""A run's events as an answer: bare lines of JSON, or one array (contract: watsonx §5.1, §3.2)."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from api.mailbox import Batch
from api.responses import LiveStream
from api.streams import AS_SENT, PAGE, PAGE_BYTES, StreamHub
from api.watsonx.events import Translator
from shared.db import Sessions, unit_of_work
from shared.events import log
from shared.keys.principal import Principal
from shared.models import Run
from shared.sizes import unload

NEEDED: Final = frozenset({"structure_ids", "model"})
"""Columns of a run without which its events cannot be told."""

STILL_HERE: Final = b" "
"""What JSON may begin with: clients, who parse every line, do not see it. An empty line would fail them."""


class EventLines(LiveStream):
    """Sends each event on a line of its own; clients parse every line, so there is nothing else.

    While nothing happens, what keeps the line alive is space before the line that comes next. A stream
    that is over before its run, and would end with such space, says so in a last line.
    """

    media_type = "text/event-stream; charset=utf-8"

    def __init__(self, batches: AsyncGenerator[Batch], run: Run, *, heartbeat: float) -> None:
        """Make the answer; `heartbeat` is how many seconds it is silent at the most, or twice as many."""
        unload(run, but=NEEDED)
        super().__init__(_lines(batches, Translator(run), heartbeat))


class EventArray(LiveStream):
    """Sends the events as one array of JSON, with space in it while nothing happens."""

    media_type = "application/json"

    def __init__(self, batches: AsyncGenerator[Batch], run: Run, *, heartbeat: float) -> None:
        """Make the answer, as `EventLines`."""
        unload(run, but=NEEDED)
        super().__init__(_array(batches, Translator(run), heartbeat))


async def _lines(
    batches: AsyncGenerator[Batch], translator: Translator, heartbeat: float
) -> AsyncGenerator[bytes]:
    is_line_begun = False
    async with aclosing(_said(batches, translator, heartbeat)) as said:
        async for events in said:
            is_line_begun = not events
            said_now = b"".join(event + b"\n" for event in events) or STILL_HERE
            del events
            yield said_now
            del said_now
    if is_line_begun:
        yield translator.broken_off() + b"\n"


async def _array(
    batches: AsyncGenerator[Batch], translator: Translator, heartbeat: float
) -> AsyncGenerator[bytes]:
    before = b"["
    async with aclosing(_said(batches, translator, heartbeat)) as said:
        async for events in said:
            said_now = before + b",".join(events) if events else STILL_HERE
            before = b"," if events else before
            del events
            yield said_now
            del said_now
    yield b"[]" if before == b"[" else b"]"


async def _said(
    batches: AsyncGenerator[Batch], translator: Translator, heartbeat: float
) -> AsyncGenerator[list[bytes]]:
    """What the events of each batch are here; nothing, once there has been nothing for a heartbeat."""
    clock = asyncio.get_running_loop().time
    said_at = clock()
    async with aclosing(batches):
        async for batch in batches:
            events = [event for one in batch for event in translator.encoded(one)]
            del batch
            if events or clock() - said_at >= heartbeat:
                yield events
                said_at = clock()
            del events


async def within(batches: AsyncGenerator[Batch], seconds: float | None) -> AsyncGenerator[Batch]:
    """The batches that come within so many seconds; all, without a limit."""
    clock = asyncio.get_running_loop().time
    deadline = None if seconds is None else clock() + seconds
    async with aclosing(batches):
        while True:
            left = None if deadline is None else max(0.0, deadline - clock())
            try:
                batch = await asyncio.wait_for(anext(batches), left)
            except (StopAsyncIteration, TimeoutError):
                return
            yield batch
            del batch


async def stored_then_live(
    sessions: Sessions, hub: StreamHub, run: Run, *, principal: Principal, seconds: float
) -> AsyncGenerator[Batch]:
    """All that is stored of a run, however long that takes; then what comes within so many seconds."""

    def read(after: int) -> log.Page:
        with unit_of_work(sessions) as session:
            return log.read(session, run.id, after=after, limit=PAGE, most=PAGE_BYTES)

    after = 0
    with hub.holding(principal) as hold:
        while True:
            page = await hub.read_page(hold, read, after)
            if not page.events:
                break
            hold.grow(AS_SENT * sum(event.size or 0 for event in page.events))
            yield page.events
            last, total = page.events[-1], page.total
            after, is_last = last.seq + 1, last.is_last
            del page, last
            if is_last:
                return
            if after >= total:
                break
    events = hub.follow(run.id, after=after, principal=principal)
    async with aclosing(within(events, seconds)) as live:
        async for batch in live:
            yield batch

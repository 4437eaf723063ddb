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


class EventLines(LiveStream):
    """Sends each event on a line of its own; clients parse every line, so there is nothing else."""

    media_type = "text/event-stream; charset=utf-8"

    def __init__(self, batches: AsyncGenerator[Batch], run: Run) -> None:
        unload(run, but=NEEDED)
        super().__init__(_lines(batches, Translator(run)))


class EventArray(LiveStream):
    """Sends the events as one array of JSON."""

    media_type = "application/json"

    def __init__(self, batches: AsyncGenerator[Batch], run: Run) -> None:
        unload(run, but=NEEDED)
        super().__init__(_array(_lines(batches, Translator(run))))


async def _lines(batches: AsyncGenerator[Batch], translator: Translator) -> AsyncGenerator[bytes]:
    async with aclosing(batches):
        async for batch in batches:
            said = b"".join(line + b"\n" for event in batch for line in translator.encoded(event))
            del batch
            if said:
                yield said
            del said


async def _array(lines: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    before = b"["
    async with aclosing(lines):
        async for some in lines:
            items = before + b",".join(some.splitlines())
            del some
            yield items
            del items
            before = b","
    yield b"[]" if before == b"[" else b"]"


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

"""Readers of event streams: they connect late, leave, reconnect, and record every frame."""

import asyncio
import hashlib
import itertools
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

import httpx2
import orjson

from cli.drill.caller import Caller
from cli.drill.plan import PlannedReader
from cli.drill.record import Transcript

RECONNECT_INTERVAL: Final = 0.2  # seconds
CLOSE_TIMEOUT: Final = 15.0  # seconds from the last event until the server closes the stream
LAST_TYPE: Final = "RunCompleted"
"""The suffix of both types of last event. The drill has its own rule, to contradict the product."""
DIGEST_BYTES: Final = 12

Now = Callable[[], float]


async def read_to_end(
    caller: Caller, run: str, transcript: Transcript, *, plan: PlannedReader, now: Now
) -> None:
    """Read the stream of a run to its last event, reconnecting by Last-Event-ID, without a time limit."""
    await asyncio.sleep(plan.comes_after)
    leaves = itertools.chain(plan.leaves_after, itertools.repeat(None))
    for quota in leaves:
        try:
            closed = await _one_connection(caller, run, transcript, quota=quota)
        except httpx2.TransportError:
            closed = False
        if transcript.ends:
            transcript.is_done = True
            return
        if closed:
            transcript.closed_early.append(now())
        await asyncio.sleep(RECONNECT_INTERVAL)


async def _one_connection(caller: Caller, run: str, transcript: Transcript, *, quota: int | None) -> bool:
    """Read until the server closes or `quota` events have come; return whether the server closed properly."""
    headers = {"Last-Event-ID": str(len(transcript.digests) - 1)} if transcript.digests else {}
    path = f"{run}/events/stream"
    async with caller.http.stream("GET", path, headers=headers) as answer:
        caller.note(answer, f"GET {path}")
        if not answer.is_success:
            return False
        taken = 0
        async with aclosing(_frames(answer)) as frames:
            while True:
                timeout = CLOSE_TIMEOUT if transcript.ends else None
                try:
                    frame = await asyncio.wait_for(anext(frames), timeout)
                except StopAsyncIteration:
                    return True
                except TimeoutError:
                    transcript.left_open = True
                    return False
                _take(transcript, frame)
                taken += 1
                if taken == quota and not transcript.ends:
                    return False


async def _frames(answer: httpx2.Response) -> AsyncGenerator[bytes]:
    buffer = b""
    async for piece in answer.aiter_raw():
        buffer += piece
        while (end := buffer.find(b"\n\n")) >= 0:
            frame, buffer = buffer[: end + 2], buffer[end + 2 :]
            if not frame.startswith(b":"):
                yield frame


def _take(transcript: Transcript, frame: bytes) -> None:
    expected = len(transcript.digests)
    number = frame.partition(b"\n")[0].removeprefix(b"id:").strip()
    if number != b"%d" % expected:
        transcript.misplaced.append(f"{number.decode(errors='replace')} instead of {expected}")
    if transcript.ends:
        transcript.after_end += 1
    transcript.digests.append(hashlib.blake2b(frame, digest_size=DIGEST_BYTES).digest())
    if LAST_TYPE.encode() in frame:
        event = orjson.loads(frame.partition(b"data:")[2])
        if event["type"].endswith(LAST_TYPE) and event["origin"] == "SYSTEM":
            transcript.ends += 1
            transcript.end_status = event["payload"].get("status")

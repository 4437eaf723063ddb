"""Readers of a run's stream that come, leave and come back by `Last-Event-ID`, many at once."""

import asyncio
import time
from collections.abc import Sequence

from cli.drill.caller import Caller
from cli.drill.plan import PlannedReader
from cli.drill.readers import read_to_end
from cli.drill.record import Answers, Transcript
from tests.support.stack import Stack


async def read_all(
    stack: Stack, readings: Sequence[tuple[str, PlannedReader]], *, patience: float
) -> list[Transcript]:
    """What each reader of a run's id was sent, to the end.

    Raises:
        TimeoutError: a stream has not ended after `patience` seconds.
    """
    file = stack.file
    caller = Caller(file["api_url"], file["api_key"], Answers())
    transcripts = [Transcript(f"reader {number} of {run_id}") for number, (run_id, _) in enumerate(readings)]
    async with caller.http, asyncio.timeout(patience), asyncio.TaskGroup() as tasks:
        for (run_id, plan), transcript in zip(readings, transcripts, strict=True):
            path = f"/assistant-runs/{run_id}"
            tasks.create_task(read_to_end(caller, path, transcript, plan=plan, now=time.monotonic))
    return transcripts


def faults_of(transcript: Transcript) -> list[str]:
    """What is wrong with a transcript by itself."""
    wrong = list(transcript.misplaced)
    if not transcript.is_done or transcript.ends != 1 or transcript.after_end:
        wrong.append(f"{transcript.ends} ends, {transcript.after_end} events after it")
    if transcript.left_open:
        wrong.append("left open after the end")
    return [f"{transcript.reader}: {what}" for what in wrong]

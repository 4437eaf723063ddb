"""Executors that cost nothing themselves, installed as another distribution would be, by entry points."""

import time
from collections.abc import Iterator

from runyard.executors import Emit, ExecutorEvent, Outcome, RunContext, Succeeded, text_artifact, text_chunk

TICK = "TickEvent"


def noop(_context: RunContext, _emit: Emit) -> Outcome:
    """End at once: `noop/anything`."""
    return Succeeded(text_artifact("done"))


def ticks(context: RunContext, emit: Emit) -> Outcome:
    """Emit an event every so often: `ticks/COUNT-MILLISECONDS`."""
    for number in paced(context):
        emit(ExecutorEvent(TICK, {"type": TICK, "number": number, "sent_at": time.time()}))
    return Succeeded(text_artifact("done"))


def words(context: RunContext, emit: Emit) -> Outcome:
    """Stream a word every so often, which is the time of its emission: `words/COUNT-MILLISECONDS`."""
    for _ in paced(context):
        emit(text_chunk(f"{time.time():.6f} "))
    return Succeeded(text_artifact("done"))


def busy(context: RunContext, _emit: Emit) -> Outcome:
    """Compute for so many seconds without a look at the token: `busy/SECONDS`."""
    until, number = time.monotonic() + float(context.model.partition("/")[2]), 0
    while time.monotonic() < until:
        number += 1
    return Succeeded(text_artifact(str(number)))


def paced(context: RunContext) -> Iterator[int]:
    """Count to COUNT, with a pause after each number; end early if the run is to stop."""
    count, _, milliseconds = context.model.partition("/")[2].partition("-")
    for number in range(int(count)):
        yield number
        context.token.wait(int(milliseconds) / 1000)
        context.token.raise_if_cancelled()

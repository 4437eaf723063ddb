"""`single`: how soon an idle stack shows a run's first event, and its end."""

import asyncio
import time
from collections.abc import Iterator
from typing import Final

from bench import load
from bench.figures import Figure, Rounds, at_most, in_rounds, percentile
from bench.plant import Plant, report
from bench.scenarios.bursts import ECHO, MILLI, NOOP, TEXT

ROUNDS: Final = 3
RUNS: Final = 25  # a round
END_TIMEOUT: Final = 10.0  # seconds
PAUSE: Final = 0.02  # seconds between two runs


async def follow(plant: Plant, assistant_id: str) -> tuple[float, float, float]:
    """Create a run and follow its stream: milliseconds until the answer, the first event, the end."""
    connection = await load.Connection.open(plant.server)
    readers = load.Readers(plant.server)
    start, started_at = time.perf_counter(), time.time()
    answer = await asyncio.wait_for(connection.ask(plant.create(assistant_id, args=[TEXT])), END_TIMEOUT)
    created = time.perf_counter() - start
    connection.close()
    run_id = answer.json["assistant_run_id"]
    await readers.join([f"/api/assistant-runs/{run_id}/events/stream"], keep_every=1)
    (reading,) = await readers.ended(END_TIMEOUT)
    arrivals = [moment for moment, _ in reading.frames]
    return created * MILLI, (arrivals[0] - started_at) * MILLI, (arrivals[-1] - started_at) * MILLI


async def follow_many(plant: Plant, assistant_id: str) -> list[tuple[float, float, float]]:
    """Follow one run after the other."""
    found = []
    for _ in range(RUNS):
        found.append(await follow(plant, assistant_id))
        await asyncio.sleep(PAUSE)
    return found


def measure(plant: Plant, within: float) -> Iterator[Figure]:
    """One run at a time, from the request to the end of its stream."""
    report("single: one run at a time")
    assistants = {"no-op": plant.assistant(NOOP), "echo": plant.assistant(ECHO)}

    def rounds(found: Rounds) -> None:
        for name, assistant_id in assistants.items():
            created, first, ended = zip(*load.run(follow_many(plant, assistant_id)), strict=True)
            found.add(f"{name}: POST answered, p50", "ms", percentile(created, 50))
            found.add(f"{name}: first event, p50", "ms", percentile(first, 50), target=at_most(8))
            goal = at_most(15) if name == "no-op" else None
            found.add(f"{name}: end, p50", "ms", percentile(ended, 50), target=goal)

    load.run(follow(plant, assistants["no-op"]))
    yield from in_rounds(ROUNDS, "single", rounds, within=within)

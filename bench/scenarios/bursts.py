"""Bursts of runs: created while the worker stands still, then worked off."""

import asyncio
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from bench import limits, load
from bench.load import Answer, Server
from bench.plant import OF_ASSISTANT, Plant

CALLERS: Final = 32
NOOP: Final = "noop/x"
ECHO: Final = "echo"
TEXT: Final = "All this happened, more or less. The war parts, anyway, are pretty much true."
END_TIMEOUT: Final = 40.0  # seconds until a burst's runs have ended
WARM_UP: Final = 40  # runs
BURST: Final = (100, 900)  # runs of one burst, at the least and at the most
MILLI: Final = 1000


@dataclass(frozen=True, slots=True)
class Created:
    """Runs accepted in a burst."""

    a_run: uuid.UUID
    rate: float  # a second
    millis: list[float]  # of each request
    api_cpu: float  # seconds a run
    own_cpu: float  # share of a core that the load generator took


@dataclass(frozen=True, slots=True)
class WorkedOff:
    """Runs of a burst worked off."""

    rate: float  # a second
    cpu: Mapping[str, float]  # seconds a run, by part


def burst_size(rate: float, seconds: float) -> int:
    """How many runs take so many seconds, within the bounds of a burst."""
    return int(min(max(rate * seconds, BURST[0]), BURST[1]))


def create(plant: Plant, assistant_id: str, runs: int, servers: Sequence[Server]) -> Created:
    """Create runs with 32 requests in flight, shared out among the servers; the worker should stand still."""
    path = f"/api/assistants/{assistant_id}/runs"
    requests = [server.request("POST", path, {"args": [TEXT]}) for server in servers]
    each = runs // len(servers)
    before, own, start = plant.cpu()["api"], load.cpu(), time.perf_counter()
    answers = load.run(_spread(servers, requests, each))
    took, own_took = time.perf_counter() - start, load.cpu() - own
    refused = [answer for answer in answers if answer.status != 201]  # Created
    assert not refused, f"{len(refused)} of {len(answers)} creates refused: {refused[0].body!r}"
    return Created(
        a_run=uuid.UUID(answers[0].json["assistant_run_id"]),
        rate=len(answers) / took,
        millis=[answer.seconds * MILLI for answer in answers],
        api_cpu=(plant.cpu()["api"] - before) / len(answers),
        own_cpu=own_took / took,
    )


async def _spread(servers: Sequence[Server], requests: Sequence[bytes], each: int) -> list[Answer]:
    bursts = [
        load.in_flight(server, [request] * each, CALLERS // len(servers))
        for server, request in zip(servers, requests, strict=True)
    ]
    return [answer for answers in await asyncio.gather(*bursts) for answer in answers]


def work_off(plant: Plant, model: str, runs: int) -> tuple[Created, WorkedOff]:
    """Create a burst with the worker stopped, then let it work until all runs have SUCCEEDED."""
    assistant_id = plant.assistant(model)
    with plant.worker_stopped():
        created = create(plant, assistant_id, runs, [plant.server])
        accepted, begun = plant.cpu(), time.time()
    plant.wait_for(assistant_id, runs, "SUCCEEDED", timeout=END_TIMEOUT)
    (last,) = plant.column(
        f"SELECT extract(epoch FROM max(completed_at))::float8 FROM runs WHERE {OF_ASSISTANT}",  # noqa: S608
        assistant_id,
    )
    ended = plant.cpu()
    cpu = {part: (ended[part] - accepted[part]) / runs for part in ended}
    return created, WorkedOff(rate=runs / (last - begun), cpu=cpu)


@contextmanager
def unworked(plant: Plant, assistant_id: str) -> Iterator[None]:
    """Keep the worker from the runs of an assistant, and delete them with their messages in the end."""
    with plant.worker_stopped():
        try:
            yield
        finally:
            limits.purge(plant.database_url, plant.stack.redis_admin_url, "runs")
            plant.database.execute(f"DELETE FROM runs WHERE {OF_ASSISTANT}", [assistant_id])  # noqa: S608

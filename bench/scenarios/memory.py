"""`memory` and `waiting`: what the processes take, idle and while their runs wait for a model."""

from typing import Final

from bench.figures import Figure, at_most
from bench.plant import MEGA, Plant, report

WAITING: Final = 200  # runs
REACHED_TIMEOUT: Final = 20.0  # seconds until all of them wait


def idle(plant: Plant, _within: float) -> list[Figure]:
    """What the API and the worker take once they have started."""
    return [
        Figure("memory", "idle API (PSS)", "MB", (plant.memory("api"),), at_most(120)),
        Figure("memory", "idle worker: one process and its supervisor", "MB", (plant.memory("worker"),)),
    ]


def waiting(plant: Plant, _within: float) -> list[Figure]:
    """What a worker's processes take while 200 runs wait for a model that does not answer."""
    report("waiting: 200 runs that wait for their model")
    assistant_id = plant.assistant("openai/hang")
    for _ in range(WAITING):
        plant.stack.create_run(assistant_id, args=["Hi"])
    reached = plant.llm.records.wait_for(lambda seen: seen.open_connections >= WAITING, REACHED_TIMEOUT)
    if not reached:
        seen = plant.llm.records.open_connections
        raise TimeoutError(f"{seen} of {WAITING} runs wait for their model after {REACHED_TIMEOUT:g} s")
    largest = max(one.memory_full_info().pss for one in plant.processes("worker")) / MEGA
    whole = f"worker of two processes, {WAITING} waiting runs"
    return [
        Figure("memory", whole, "MB", (plant.memory("worker"),)),
        Figure("memory", "its largest process", "MB", (largest,), at_most(300)),
    ]

"""`cost`: what one run asks of PostgreSQL, and what the framework alone costs."""

import time
from collections import defaultdict
from contextlib import ExitStack
from typing import Final

from bench import limits, load
from bench.figures import Figure, at_most
from bench.plant import Plant, report
from bench.scenarios.bursts import ECHO, NOOP, TEXT
from bench.wire import PLAIN, Traffic, counted

QUEUE: Final = "bench-counted"
RUNS: Final = 15  # of each kind, one after the other
WARM_UP: Final = 5
END_TIMEOUT: Final = 10.0  # seconds of one run
POLL_INTERVAL: Final = 0.02  # seconds
SETTLED_AFTER: Final = 0.05  # seconds after a run's end in which its worker may still ask something
GOALS: Final = {"create": (1, 3), "no-op": (2, 10), "echo": (3, 15)}  # transactions, round trips


def measure(plant: Plant, _within: float) -> list[Figure]:
    """Count transactions and round trips of single runs, by proxies before PostgreSQL.

    An API and a worker of their own have them, with a queue of their own. Each run is one sample: heartbeats
    fall into few of them, and so not into the median.
    """
    report("cost: the framework alone")
    alone = limits.griptape_alone()
    figures = [
        Figure("cost", "griptape alone: CPU a run", "ms", alone["run"]),
        Figure("cost", "griptape alone: CPU a paced chunk", "ms", alone["chunk"]),
    ]
    report("cost: transactions and round trips of single runs")
    with ExitStack() as stack:
        api_url, of_api = stack.enter_context(counted(plant.database_url))
        worker_url, of_worker = stack.enter_context(counted(plant.database_url))
        settings = {**PLAIN, "RUNYARD_RUN_QUEUE": QUEUE}
        server = stack.enter_context(plant.api_beside(settings={**settings, "RUNYARD_DATABASE_URL": api_url}))
        options = ("--name", "counted", "--processes", "1", "--queues", QUEUE)
        stack.enter_context(
            plant.worker_beside(*options, settings={**settings, "RUNYARD_DATABASE_URL": worker_url})
        )
        samples: dict[tuple[str, str], list[float]] = defaultdict(list)
        for name, model in (("no-op", NOOP), ("echo", ECHO)):
            assistant_id = plant.assistant(model)
            request = server.request("POST", f"/api/assistants/{assistant_id}/runs", {"args": [TEXT]})
            for number in range(WARM_UP + RUNS):
                before = {part: counts(traffic) for part, traffic in (("create", of_api), (name, of_worker))}
                (answer,) = load.run(load.in_flight(server, [request], 1))
                await_end(plant, answer.json["assistant_run_id"])
                after = {"create": counts(of_api), name: counts(of_worker)}
                for part, start in before.items() if number >= WARM_UP else ():
                    for what, value in after[part].items():
                        samples[part, what].append(value - start[what])
    for part, goals in GOALS.items():
        for what, goal in zip(("transactions", "round trips"), goals, strict=True):
            figures.append(
                Figure("cost", f"{part}: {what}", "", tuple(samples[part, what]), target=at_most(goal))
            )
    return figures


def counts(traffic: Traffic) -> dict[str, int]:
    """What has gone over the wire so far."""
    return {"transactions": traffic.transactions, "round trips": traffic.round_trips}


def await_end(plant: Plant, run_id: str) -> None:
    """Wait until a run has SUCCEEDED and its worker has nothing more to say of it.

    Raises:
        TimeoutError: it has not.
    """
    deadline = time.monotonic() + END_TIMEOUT
    while plant.column("SELECT status FROM runs WHERE id = %s", run_id) != ["SUCCEEDED"]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{run_id} has not succeeded after {END_TIMEOUT:g} s")
        time.sleep(POLL_INTERVAL)
    time.sleep(SETTLED_AFTER)

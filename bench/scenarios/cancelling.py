"""`cancel`: how soon a cancelled run has stopped, alone, beside 200 streaming runs, and in a busy loop."""

import time
from collections.abc import Iterator
from typing import Any, Final

from bench import load
from bench.figures import Figure, Rounds, at_most, in_rounds, percentile
from bench.plant import Plant, report
from bench.scenarios.bursts import MILLI

ROUNDS: Final = 3
STREAMING: Final = 200
AT_ONCE: Final = 32
ALONE: Final = 6
BUSY: Final = 2
BUSY_SECONDS: Final = 30  # of a loop that nobody cancels
CALLERS: Final = 32
STARTED_TIMEOUT: Final = 30.0  # seconds
STOP_TIMEOUT: Final = 30.0  # seconds
POLL_INTERVAL: Final = 0.05  # seconds
TEXT: Final = " ".join(["word"] * 5000)


def cancel(plant: Plant, run_ids: list[str], callers: int) -> tuple[list[float], list[float]]:
    """Cancel runs: milliseconds of each request, and from the first one until each run's code had stopped."""
    paths = [f"/api/assistant-runs/{run_id}/cancel" for run_id in run_ids]
    requests = [plant.server.request("POST", path, {}) for path in paths]
    start = time.time()
    answers = load.run(load.in_flight(plant.server, requests, callers))
    refused = [answer.body for answer in answers if answer.status != 200]  # OK
    assert not refused, f"{len(refused)} of {len(answers)} cancels refused: {refused[0]!r}"
    untrue = [answer.json for answer in answers if answer.json["status"] != "CANCELLED"]
    assert not untrue, f"{len(untrue)} of {len(answers)} runs ended otherwise: {untrue[0]['status']}"
    asked = [answer.seconds * MILLI for answer in answers]
    return asked, [max(0.0, (stop - start) * MILLI) for stop in stops(plant, run_ids)]


def stops(plant: Plant, run_ids: list[str]) -> list[float]:
    """When the code of each run had stopped, as the receipts say; waits for all.

    Raises:
        TimeoutError: some have not stopped.
    """
    query = (
        "SELECT extract(epoch FROM (status_detail->>'stopped_at')::timestamptz)::float8"
        " FROM runs WHERE id = ANY(%s::uuid[]) AND status = 'CANCELLED'"
    )
    deadline = time.monotonic() + STOP_TIMEOUT
    while True:
        found: list[Any] = [stop for stop in plant.column(query, run_ids) if stop is not None]
        if len(found) == len(run_ids):
            return found
        if time.monotonic() > deadline:
            left = len(run_ids) - len(found)
            raise TimeoutError(
                f"{left} of {len(run_ids)} runs have not stopped {STOP_TIMEOUT:g} s after their cancel"
            )
        time.sleep(POLL_INTERVAL)


def started(plant: Plant, model: str, number: int, text: str) -> list[str]:
    """Create runs, and wait until all are RUNNING; their ids."""
    assistant_id = plant.assistant(model)
    requests = [plant.create(assistant_id, args=[text])] * number
    answers = load.run(load.in_flight(plant.server, requests, min(CALLERS, number)))
    plant.wait_for(assistant_id, number, "RUNNING", timeout=STARTED_TIMEOUT)
    return [answer.json["assistant_run_id"] for answer in answers]


def measure(plant: Plant, within: float) -> Iterator[Figure]:
    """Cancel on an idle stack, then one by one and 32 at once while 200 runs stream, then busy loops."""
    report("cancel: on an idle stack")

    def idle(found: Rounds) -> None:
        stopped = [cancel(plant, started(plant, "echo", 1, TEXT), 1)[1][0] for _ in range(ALONE)]
        found.add("idle stack, one by one: POST → stopped, p50", "ms", percentile(stopped, 50))

    def beside(found: Rounds) -> None:
        run_ids = started(plant, "echo", STREAMING, TEXT)
        time.sleep(1)  # so that all stream
        one_by_one = [cancel(plant, [run_id], 1) for run_id in run_ids[:ALONE]]
        name = f"beside {STREAMING} runs"
        stopped = [stop for _, stops_of_one in one_by_one for stop in stops_of_one]
        found.add(f"{name}, one by one: POST → stopped, p50", "ms", percentile(stopped, 50))
        asked, stopped = cancel(plant, run_ids[ALONE : ALONE + AT_ONCE], AT_ONCE)
        found.add(f"{name}, {AT_ONCE} at once: POST, p99", "ms", percentile(asked, 99), target=at_most(150))
        found.add(
            f"{name}, {AT_ONCE} at once: POST → stopped, p99",
            "ms",
            percentile(stopped, 99),
            target=at_most(1000),
        )
        cancel(plant, run_ids[ALONE + AT_ONCE :], AT_ONCE)

    def busy(found: Rounds) -> None:
        run_ids = started(plant, f"busy/{BUSY_SECONDS}", BUSY, "Hi")
        _, stopped = cancel(plant, run_ids, BUSY)
        found.add("busy loops: POST → stopped, the longest", "ms", max(stopped))

    yield from in_rounds(ROUNDS, "cancel", idle, within=within * 0.1)
    report("cancel: busy loops")
    yield from in_rounds(ROUNDS, "cancel", busy, within=within * 0.2)
    report(f"cancel: beside {STREAMING} streaming runs")
    yield from in_rounds(ROUNDS, "cancel", beside, within=within * 0.7)

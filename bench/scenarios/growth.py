"""`growth`: whether accepting, listing and finishing runs costs the same with many runs stored."""

import uuid
from collections.abc import Iterator
from functools import partial
from statistics import median
from typing import Final

from bench import load, million
from bench.figures import Figure, Rounds, at_most, in_rounds, percentile
from bench.plant import Plant, report
from bench.scenarios import latency
from bench.scenarios.bursts import MILLI, NOOP, work_off

ROUNDS: Final = 3
SIZES: Final = (10_000, 100_000)
FULL_SIZES: Final = (10_000, 100_000, 1_000_000)
RUNS: Final = 150  # created in a round
GETS: Final = 30
GROWTH_LIMIT: Final = 1.2  # times the cost with the fewest runs


def measure(plant: Plant, within: float, *, sizes: tuple[int, ...] = SIZES) -> Iterator[Figure]:
    """Fill the tables, size by size; the same work at each."""
    firsts: dict[str, float] = {}
    stored = 0
    organization_id, user_id = _owner(plant)
    for size in sizes:
        report(f"growth: {size:,} runs")
        million.load(
            million.superuser_url(plant.database_url, plant.stack.data_dir),
            organization_id=organization_id,
            user_id=user_id,
            total=size - stored,
            with_events=True,
        )
        stored = size
        listed = plant.assistant(NOOP)
        work_off(plant, NOOP, RUNS)
        for figure in in_rounds(
            ROUNDS, "growth", partial(_at, plant, listed), within=within / len(sizes) / 2
        ):
            first = firsts.setdefault(figure.name, median(figure.samples))
            yield Figure(
                "growth", f"{size:,} runs: {figure.name}", figure.unit, figure.samples, note=figure.note
            )
            if size == sizes[-1]:
                ratios = tuple(sample / first for sample in figure.samples)
                name = f"{sizes[0]:,} → {size:,}: {figure.name}"
                yield Figure("growth", name, "times", ratios, at_most(GROWTH_LIMIT))


def _owner(plant: Plant) -> tuple[uuid.UUID, uuid.UUID]:
    assistant_id = plant.assistant(NOOP)
    query = "SELECT organization_id, created_by FROM assistants WHERE id = %s"
    row = plant.database.execute(query, [assistant_id]).fetchone()
    assert row is not None
    return row[0], row[1]


def _at(plant: Plant, assistant_id: str, rounds: Rounds) -> None:
    created, ended = work_off(plant, NOOP, RUNS)
    rounds.add("create", "ms a run", MILLI / created.rate)
    rounds.add("through", "ms a run", MILLI / ended.rate)
    _, _, ends = zip(*load.run(latency.follow_many(plant, assistant_id)), strict=True)
    rounds.add("no-op to its end, idle, p50", "ms", percentile(ends, 50))
    page = plant.server.request("GET", "/api/assistant-runs?page_size=50")
    answers = load.run(load.in_flight(plant.server, [page] * GETS, 1))
    refused = [answer for answer in answers if answer.status != 200]  # OK
    assert not refused, refused[0]
    rounds.add("first page of all runs, p50", "ms", percentile([one.seconds * MILLI for one in answers], 50))

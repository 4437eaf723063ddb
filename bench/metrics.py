"""What metrics cost: runs per second and CPU per run, with metrics on and off.

`make bench BENCH=metrics`: two stacks, one of which measures and is scraped every 15 seconds.
Bursts of runs alternate between them, so that both meet the same machine; each pair gives a ratio.
"""

import argparse
import statistics
import sys
import tempfile
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx2

from bench.measure import MILLI, Figure, percentile, show
from bench.plant import Plant, report, running_plant
from bench.scenarios.bursts import ECHO, WARM_UP, work_off

RUNS: Final = 300  # of one burst
PAIRS: Final = 9
SCRAPE_INTERVAL: Final = 15.0  # seconds, as in deploy/prometheus
TARGET: Final = 3.0  # per cent
PARTS: Final = ("api", "worker", "reconciler")


@contextmanager
def scraped(urls: Sequence[str]) -> Generator[None]:
    """Scrape processes during the block."""
    is_over = threading.Event()

    def scrape() -> None:
        with httpx2.Client(timeout=10, trust_env=False) as client:
            while not is_over.wait(SCRAPE_INTERVAL):
                for url in urls:
                    client.get(url).raise_for_status()

    scraper = threading.Thread(target=scrape)
    scraper.start()
    try:
        yield
    finally:
        is_over.set()
        scraper.join()


def burst(plant: Plant, runs: int) -> tuple[float, float]:
    """Work a burst off; return runs per second, and CPU seconds of a run from its creation to its end."""
    created, done = work_off(plant, ECHO, runs)
    return done.rate, created.api_cpu + sum(done.cpu[part] for part in PARTS if part in done.cpu)


def compared(off: Plant, on: Plant, *, pairs: int, runs: int) -> list[Figure]:
    """Measure in pairs, each in another order than the one before."""
    found: dict[Plant, list[tuple[float, float]]] = {off: [], on: []}
    for pair in range(pairs):
        for plant in (off, on) if pair % 2 else (on, off):
            found[plant].append(burst(plant, runs))
        report(f"pair {pair + 1} of {pairs}: off {found[off][-1]}, on {found[on][-1]}")
    slower = [(1 - b[0] / a[0]) * 100 for a, b in zip(found[off], found[on], strict=True)]
    dearer = [(b[1] / a[1] - 1) * 100 for a, b in zip(found[off], found[on], strict=True)]
    figures = []
    for name, plant in (("off", off), ("on", on)):
        figures += [
            Figure(f"metrics {name}: runs", statistics.median(rate for rate, _ in found[plant]), "/s"),
            Figure(
                f"metrics {name}: CPU a run", statistics.median(cpu for _, cpu in found[plant]) * MILLI, "ms"
            ),
        ]
    for what, ratios in (("fewer runs", slower), ("more CPU a run", dearer)):
        spread = f"quartiles {percentile(ratios, 25):.1f} and {percentile(ratios, 75):.1f}, n {len(ratios)}"
        figures.append(Figure(f"with metrics: {what}", statistics.median(ratios), "%", TARGET, spread))
    return figures


def main() -> None:
    """Start both, measure, stop; exit with 1 if metrics cost more than they may."""
    parser = argparse.ArgumentParser(prog="python -m bench.metrics", description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--runs", type=int, default=RUNS)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="runyard-", ignore_cleanup_errors=True) as directory,
        running_plant(Path(directory) / "off", settings={}) as off,
        running_plant(Path(directory) / "on", settings={"RUNYARD_METRICS_PORT": "0"}) as on,
        scraped(list(on.stack.file["metrics_urls"].values())),
    ):
        for plant in (off, on):
            work_off(plant, ECHO, WARM_UP)
        figures = compared(off, on, pairs=given.pairs, runs=given.runs)
    show("The cost of metrics", figures)
    sys.exit(any(figure.verdict == "MISSED" for figure in figures))


if __name__ == "__main__":
    main()

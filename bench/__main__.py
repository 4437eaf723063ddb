"""Measure speed and memory: `make bench`, or `python -m bench SCENARIO…`.

It starts stacks of `runyard dev`, measures, prints one table, writes JSON and stops what it started, also on
SIGTERM. Compare figures within one report only: the machine's other work is in them.
"""

import argparse
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from bench.figures import show, write_report
from bench.plant import STREAMS_SETTINGS
from bench.scenarios import cancelling, cost, growth, latency, memory, runs, streaming
from bench.session import Scenario, Session, Site

REPORT: Final = Path("build", "bench", "report.json")
FILES: Final = 16_384  # sockets and files that the load generator and the API may have open
TIME: Final = 300.0  # seconds for all scenarios; the last stack is stopped after that
FULL_GROWTH: Final = 240.0  # seconds of growth to a million runs


ONE_WORKER: Final = Site(
    ("--processes", "1"),
    STREAMS_SETTINGS,
    (
        Scenario("memory", memory.idle, 5),
        Scenario("single", latency.measure, 12),
        Scenario("create", runs.creating, 30),
        Scenario("through", runs.through, 60),
        Scenario("cost", cost.measure, 20),
        Scenario("idle_streams", streaming.idle_streams, 45),
        Scenario("growth", growth.measure, 45),
    ),
)
TWO_WORKERS: Final = Site(
    ("--processes", "2", "--concurrency", "200"),
    {**STREAMS_SETTINGS, "RUNYARD_ECHO_WORDS_PER_SECOND": str(streaming.WORDS_PER_SECOND)},
    (
        Scenario("waiting", memory.waiting, 10),
        Scenario("stream", streaming.stream, 12),
        Scenario("capacity", streaming.capacity, 40),
        Scenario("fanout", streaming.fanout, 35),
        Scenario("cancel", cancelling.measure, 35),
    ),
)
FULL: Final = Scenario("growth", partial(growth.measure, sizes=growth.FULL_SIZES), FULL_GROWTH)
SITES: Final = (ONE_WORKER, TWO_WORKERS)
SCENARIOS: Final = tuple(scenario.name for site in SITES for scenario in site.scenarios)


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure, how thoroughly, and where all samples go."""

    scenarios: frozenset[str]
    is_full: bool
    time: float
    json: Path


def parse(arguments: Sequence[str]) -> Options:
    """Read the command line.

    Raises:
        SystemExit: it names no scenario that there is, or asks for help.
    """
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure speed and memory.")
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(SCENARIOS))
    parser.add_argument("--full", action="store_true", help="growth to a million runs; takes minutes more")
    parser.add_argument(
        "--time",
        type=float,
        help=f"seconds for all; with less, fewer rounds ({TIME:.0f}, with --full {TIME + FULL_GROWTH:.0f})",
    )
    parser.add_argument("--json", type=Path, default=REPORT, help="where all samples go (%(default)s)")
    given = parser.parse_args(arguments)
    if unknown := set(given.scenarios) - set(SCENARIOS):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    seconds = TIME + FULL_GROWTH * given.full if given.time is None else given.time
    if seconds <= 0:
        parser.error("--time must be more than 0")
    return Options(frozenset(given.scenarios or SCENARIOS), given.full, seconds, given.json)


def main() -> None:
    """Measure the scenarios asked for, all without any; exit with 1 if one of them has no figures."""
    options = parse(sys.argv[1:])
    allow_files()
    signal.signal(signal.SIGTERM, stop)
    start = time.monotonic()
    session = Session(options.time)
    try:
        with tempfile.TemporaryDirectory(prefix="runyard-", ignore_cleanup_errors=True) as directory:
            session.measure(chosen(options), Path(directory))
    finally:
        took, load = time.monotonic() - start, os.getloadavg()[0]
        title = f"{os.cpu_count()} cores, load {load:.1f} in the end, {took:.0f} s"
        show(title, session.figures)
        write_report(options.json, title, session.figures)
        sys.stdout.write(f"All samples: {options.json}\n")
    sys.exit(1 if session.failed else 0)


def chosen(options: Options) -> list[Site]:
    """The sites with those scenarios that are wanted."""
    sites = []
    for site in SITES:
        wanted = [scenario for scenario in site.scenarios if scenario.name in options.scenarios]
        if options.is_full:
            wanted = [FULL if one.name == FULL.name else one for one in wanted]
        if wanted:
            sites.append(Site(site.options, site.settings, tuple(wanted)))
    return sites


def stop(*_: object) -> None:
    """End, once: what was started is stopped meanwhile, whatever else is signalled."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(1)


def allow_files() -> None:
    """Allow as many open files as many streams need, if the machine does."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))


if __name__ == "__main__":
    main()

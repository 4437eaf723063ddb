"""The console at a million runs: how long its pages take, and what a hundred open windows cost.

`make bench BENCH=console`: loads the runs into its own PostgreSQL within two minutes.
"""

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Final

import httpx2
import psutil

from bench.measure import Figure, median, repeated, show
from bench.runs_list import Loaded, million_runs, serving

TIMES: Final = 30
TARGET: Final = 30.0  # milliseconds of a list of runs
CONSOLES: Final = 100
REFRESH: Final = 5.0  # seconds; what the pages ask for
SECONDS: Final = 30.0  # of open consoles
SHARE: Final = 5.0  # percent of a core
PART: Final = {"HX-Request": "true", "Accept": "text/html"}
PERCENT: Final = 100


def pages(loaded: Loaded) -> Mapping[str, str]:
    """The addresses that are measured, by name."""
    return {
        "runs": "/runs",
        "runs of an assistant": f"/runs?subject={loaded.assistant_id}",
        "runs in three statuses": "/runs?status=FAILED&status=ERROR&status=CANCELLED",
        "runs of a reason that none has": "/runs?reason=TimedOut&status=QUEUED",
        "overview": "/overview",
        "workers": "/workers",
        "retention": "/retention",
    }


@contextmanager
def signed_in(client: httpx2.Client, secret: str) -> Generator[httpx2.Client]:
    """Give a browser a session."""
    base = f"{client.base_url.scheme}://{client.base_url.netloc.decode()}/console"
    with httpx2.Client(base_url=base, timeout=60) as browser:
        assert browser.post("/sign-in", data={"key": secret}).is_redirect
        yield browser


def servers() -> tuple[list[psutil.Process], list[psutil.Process]]:
    """The processes of the API and of PostgreSQL below this one."""
    below = psutil.Process().children(recursive=True)
    return (
        [process for process in below if "api" in process.cmdline()],
        [process for process in below if process.name() == "postgres"],
    )


def cpu(processes: Sequence[psutil.Process]) -> float:
    """Seconds of processor time that processes have had."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def measure_pages(browser: httpx2.Client, loaded: Loaded) -> list[Figure]:
    """Time the requests of pages, in another process; their processor time is less disturbed by others."""

    def request(path: str) -> None:
        assert browser.get(path, headers={"Accept": "text/html"}).status_code == 200

    found = []
    for name, path in pages(loaded).items():
        request(path)  # connects, so that every backend is there before
        sides = servers()
        before = [cpu(side) for side in sides]
        samples = repeated(partial(request, path), times=TIMES, warm_up=0)
        figure = median(name, samples, target=TARGET if path.startswith("/runs") else None)
        api, database = (1000 * (cpu(side) - was) / TIMES for side, was in zip(sides, before, strict=True))
        found.append(
            replace(figure, note=f"{figure.note}; CPU of API {api:.1f}, of PostgreSQL {database:.1f}")
        )
    return found


def measure_consoles(browser: httpx2.Client, path: str, what: str) -> list[Figure]:
    """Refresh a page as often as the windows do, and see what the servers spend on it."""
    api, backends = servers()
    requests = round(SECONDS / REFRESH * CONSOLES)
    browser.get(path, headers=PART)
    before, before_database, start = cpu(api), cpu(backends), time.monotonic()
    for number in range(requests):
        time.sleep(max(0.0, start + number * SECONDS / requests - time.monotonic()))
        assert browser.get(path, headers=PART).status_code == 200
    seconds = time.monotonic() - start
    note = f"{requests} refreshes in {seconds:.0f} s"
    return [
        Figure(f"{what}: the API", PERCENT * (cpu(api) - before) / seconds, "%", SHARE, note),
        Figure(f"{what}: PostgreSQL", PERCENT * (cpu(backends) - before_database) / seconds, "%"),
    ]


def main() -> None:
    """Load, measure, report."""
    with (
        million_runs() as loaded,
        serving(loaded) as client,
        signed_in(client, loaded.secret) as browser,
    ):
        show("Pages of the console at a million runs", measure_pages(browser, loaded))
        figures = []
        for what, path in (("the list", "/runs"), ("the overview", "/overview")):
            figures += measure_consoles(browser, path, what)
        show(f"{CONSOLES} open consoles, in percent of a core", figures)


if __name__ == "__main__":
    main()

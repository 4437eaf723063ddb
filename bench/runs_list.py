"""Latency of run lists in an organization with a million runs, and the plans of their queries.

`make bench BENCH=runs_list`: loads the runs into its own PostgreSQL within two minutes.
"""

import argparse
import os
import subprocess
import tempfile
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx2
from sqlalchemy import Connection, event
from sqlalchemy.orm import Session

from bench import million
from bench.measure import Figure, median, repeated, show
from shared.db import Sessions, make_engine, make_sessions, unit_of_work
from shared.keys import service as keys
from shared.lifecycle import RunStatus
from shared.migrations.upgrade import upgrade
from shared.models import Run
from shared.organizations import admin
from shared.processes.ports import LOOPBACK, free_port
from shared.rows.paging import Page, Part
from shared.runs import lists as run_lists
from shared.runs.lists import RunFilter, RunList
from shared.settings import Settings
from tests.support.services import TestServices, running_services
from tests.support.stack import RUNYARD
from tests.support.waiting import wait_until

PAGE_SIZE: Final = 100
TIMES: Final = 30
TARGET: Final = 50.0  # milliseconds
PLANS: Final = Path("build", "bench", "runs_list_plans.txt")
START_TIMEOUT: Final = 60.0  # seconds
STOP_TIMEOUT: Final = 15.0  # seconds

FILTERS: Final = ("", "RUNNING", "SUCCEEDED", "FAILED,ERROR,CANCELLED")


@dataclass(frozen=True)
class Loaded:
    """Servers with the runs, and what is needed to list them."""

    services: TestServices
    settings: Settings
    sessions: Sessions
    organization_id: uuid.UUID
    assistant_id: uuid.UUID
    secret: str

    def page(self, session: Session, statuses: str, number: int) -> Page[Run]:
        """Read a page as the API does."""
        session.expunge_all()
        listed = RunList(self.organization_id, subject_id=self.assistant_id)
        wanted = RunFilter(statuses=frozenset(map(RunStatus, filter(None, statuses.split(",")))) or None)
        return run_lists.page(session, listed, Part(limit=PAGE_SIZE, offset=(number - 1) * PAGE_SIZE), wanted)


@dataclass(frozen=True)
class Listing:
    """One list that is measured; a page in the middle has no target, as it has no shorter way."""

    statuses: str
    where: str
    number: int

    @property
    def name(self) -> str:
        return f"{self.statuses or 'all statuses'}: {self.where} page ({self.number})"

    @property
    def target(self) -> float | None:
        return None if self.where == "middle" else TARGET


def listings(loaded: Loaded) -> list[Listing]:
    """The first, the last and the middle page of each list."""
    found = []
    with loaded.sessions() as session:
        for statuses in FILTERS:
            pages = -(-loaded.page(session, statuses, 1).count // PAGE_SIZE)
            places = {"first": 1, "last": pages, "middle": (pages + 1) // 2}
            found += [Listing(statuses, where, number) for where, number in places.items()]
    return found


@contextmanager
def million_runs() -> Generator[Loaded]:
    """Start servers and load the runs into them."""
    with (
        tempfile.TemporaryDirectory(prefix="runyard-") as directory,
        running_services(Path(directory)) as services,
    ):
        settings = services.settings(database_url=services.postgres.url)
        upgrade(settings)
        engine = make_engine(settings)
        try:
            yield load(services, settings, make_sessions(engine))
        finally:
            engine.dispose()


def load(services: TestServices, settings: Settings, sessions: Sessions) -> Loaded:
    """Load the runs."""
    with unit_of_work(sessions) as session:
        organization_id = admin.create_organization(session, "bench").id
        user_id = admin.ensure_member(session, organization_id, "bench@example.com").id
        _, secret = keys.create_key(session, organization_id=organization_id, user_id=user_id, name="bench")
    assistant_id = million.load(services.postgres.url, organization_id=organization_id, user_id=user_id)
    return Loaded(services, settings, sessions, organization_id, assistant_id, secret)


def measure_queries(loaded: Loaded, listing: Listing) -> Figure:
    """Time the use case's own query, on one connection."""
    with loaded.sessions() as session:
        samples = repeated(lambda: loaded.page(session, listing.statuses, listing.number), times=TIMES)
    return median(listing.name, samples, target=listing.target)


def measure_requests(client: httpx2.Client, listing: Listing) -> Figure:
    """Time the request, in another process."""
    query = {"page": listing.number, "page_size": PAGE_SIZE, "status": listing.statuses}
    params = {name: value for name, value in query.items() if value}

    def request() -> None:
        assert client.get("", params=params).status_code == 200

    return median(listing.name, repeated(request, times=TIMES), target=listing.target)


def measure_all_runs(client: httpx2.Client) -> list[Figure]:
    """Time the watsonx dialect's list of all runs, whose last page its clients ask for to see the newest."""
    url = f"{client.base_url.scheme}://{client.base_url.netloc.decode()}/v1/orchestrate/runs"
    total = client.get(url, params={"limit": 1}).json()["total"]
    places = {"first": 0, "last": total - PAGE_SIZE, "middle": (total - PAGE_SIZE) // 2}

    def request(offset: int) -> None:
        assert client.get(url, params={"limit": PAGE_SIZE, "offset": offset}).status_code == 200

    return [
        median(
            f"{where} page (offset {offset})",
            repeated(partial(request, offset), times=TIMES),
            target=None if where == "middle" else TARGET,
        )
        for where, offset in places.items()
    ]


def plans(loaded: Loaded, listing: Listing) -> str:
    """What PostgreSQL does for a page, statement by statement."""
    statements: list[tuple[str, Any]] = []

    def remember(_: Connection, __: object, statement: str, parameters: Any, *___: object) -> None:
        statements.append((statement, parameters))

    with loaded.sessions() as session:
        connection = session.connection()
        event.listen(connection, "before_cursor_execute", remember)
        loaded.page(session, listing.statuses, listing.number)
        event.remove(connection, "before_cursor_execute", remember)
        lines = [f"\n== {listing.name}"]
        for statement, parameters in statements:
            plan = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS) {statement}", parameters)
            lines += ["", *plan.scalars()]
    return "\n".join(line if len(line) < 300 else f"{line[:300]} …" for line in lines)


@contextmanager
def serving(loaded: Loaded) -> Generator[httpx2.Client]:
    """Run an API process, and a client for the assistant's runs."""
    port = free_port()
    environment = {
        **os.environ,
        "RUNYARD_DATABASE_URL": loaded.services.postgres.url,
        "RUNYARD_REDIS_URL": loaded.services.redis.url,
        "RUNYARD_API_PORT": str(port),
    }
    root = f"http://{LOOPBACK}:{port}"
    process = subprocess.Popen([str(RUNYARD), "api"], env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _is_ready(root), timeout=START_TIMEOUT, what="the API to be ready")
        url = f"{root}/api/assistants/{loaded.assistant_id}/runs"
        headers = {"Authorization": f"Bearer {loaded.secret}"}
        with httpx2.Client(base_url=url, headers=headers, timeout=30) as client:
            yield client
    finally:
        process.terminate()
        process.wait(STOP_TIMEOUT)


def _is_ready(root: str) -> bool:
    try:
        return httpx2.get(f"{root}/health/ready").status_code == 200
    except httpx2.TransportError:
        return False


def main() -> None:
    """Load, measure, report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--plans", type=Path, default=PLANS, help="where the query plans go (%(default)s)")
    path = parser.parse_args().plans
    path.parent.mkdir(parents=True, exist_ok=True)
    with million_runs() as loaded:
        lists = listings(loaded)
        show("Lists of 900,000 of a million runs: the query", [measure_queries(loaded, one) for one in lists])
        with serving(loaded) as client:
            show("The same over HTTP", [measure_requests(client, one) for one in lists])
            show("All runs, in the watsonx dialect, over HTTP", measure_all_runs(client))
        path.write_text("\n".join(plans(loaded, one) for one in lists))


if __name__ == "__main__":
    main()

"""What events cost as their table grows by days, the plans of their queries, and what a day costs to delete.

`make bench BENCH=retention`: 5 million events of 50 days in its own PostgreSQL, some minutes.
`ARGS="--days 500"` makes 50 million of them.
"""

import argparse
import random
import re
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg.types.json import Jsonb
from sqlalchemy import Connection, event, text
from sqlalchemy.orm import Session

from bench.measure import Figure, median, repeated, show
from shared.assistants import service as assistants
from shared.db import Sessions, make_engine, make_sessions, unit_of_work
from shared.events import log
from shared.events.log import NewEvent
from shared.keys.principal import Principal
from shared.migrations.upgrade import upgrade
from shared.models import Origin
from shared.organizations import admin
from shared.retention.policy import Policy
from shared.retention.purge import Purged, purge
from tests.support.services import running_services

DAYS: Final = 50
RUNS_A_DAY: Final = 1_000
EVENTS_A_RUN: Final = 100
BATCH: Final = 64
TIMES: Final = 50
PLANS: Final = Path("build", "bench", "retention_plans.txt")

TABLE: Final = "CREATE UNLOGGED TABLE {name} (LIKE run_events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"
"""Of a past day. Unlogged, as its planting is not measured, and a log of it would keep the disk busy."""

ATTACHMENT: Final = """
SELECT index_run_events('{name}');
ALTER TABLE run_events ATTACH PARTITION {name} FOR VALUES FROM ('{day}') TO ('{day}'::date + 1)
"""

RUNS: Final = """
INSERT INTO runs (id, organization_id, assistant_id, created_by, input, args, status, status_detail, output,
                  attempt, event_count, queued_at, started_at, completed_at, created_at, updated_at)
SELECT gen_random_uuid(), %(organization)s, %(assistant)s, %(user)s, 'Hello', '[]', 'SUCCEEDED', '{}',
       '{"type": "TextArtifact", "value": "Hello"}', 1, %(events)s, at, at, at, at, at
FROM (
    SELECT date_trunc('day', now(), 'UTC') - interval '1 day' * %(age)s + interval '1 second' * number AS at
    FROM generate_series(1, %(runs)s) AS number
) AS made
"""

EVENTS: Final = """
INSERT INTO {name}
    (run_id, seq, event_id, origin, type, payload, timestamp, attempt, size, created_at, run_day)
SELECT runs.id, seq, uuidv7(runs.created_at - now()), 'ASSISTANT', 'TextChunkEvent',
       %(payload)s, extract(epoch FROM runs.created_at), 1, 190, runs.created_at,
       (runs.created_at AT TIME ZONE 'UTC')::date
FROM runs CROSS JOIN generate_series(0, event_count - 1) AS seq
WHERE runs.organization_id = %(organization)s
  AND runs.created_at >= date_trunc('day', now(), 'UTC') - interval '1 day' * %(age)s
  AND runs.created_at < date_trunc('day', now(), 'UTC') - interval '1 day' * (%(age)s - 1)
"""


@dataclass(frozen=True)
class Bench:
    """A database with one organization, and the superuser's way to fill it."""

    url: str  # of the superuser
    sessions: Sessions
    principal: Principal
    assistant_id: uuid.UUID

    def plant(self, age: int) -> None:
        """Make a day of runs and events, `age` days ago."""
        values = {
            "organization": self.principal.organization_id,
            "user": self.principal.user_id,
            "assistant": self.assistant_id,
            "runs": RUNS_A_DAY,
            "events": EVENTS_A_RUN,
            "age": age,
            "payload": Jsonb({"type": "TextChunkEvent", "token": "The report says this. " * 6, "index": 1}),
        }
        with psycopg.connect(self.url, autocommit=True) as connection:
            day = datetime.now(UTC).date() - timedelta(days=age)
            name = f"run_events_{day:%Y%m%d}"
            connection.execute(TABLE.format(name=name))
            connection.execute(RUNS, values)
            connection.execute(EVENTS.format(name=name), values)
            connection.execute(ATTACHMENT.format(name=name, day=day))
            connection.execute(f"VACUUM (ANALYZE) {name}")

    def settle(self) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE) runs")
            connection.execute("ANALYZE ONLY run_events")

    def sample(self, query: str, count: int = TIMES) -> list[Any]:
        """Values of rows that are drawn at random."""
        with psycopg.connect(self.url) as connection:
            rows = connection.execute(query, {"organization": self.principal.organization_id}).fetchall()
        return [row[0] for row in random.Random(1).choices(rows, k=count)]  # noqa: S311  # no secret


def measure(bench: Bench, label: str) -> tuple[list[Figure], list[str]]:
    """Time an insert, a page, one event and a deleted run; return the figures, and the plans."""
    of_runs = "SELECT id FROM runs WHERE organization_id = %(organization)s"
    runs = iter(bench.sample(of_runs, 2 * TIMES))
    events = iter(bench.sample("SELECT event_id FROM run_events TABLESAMPLE SYSTEM (0.1)", 2 * TIMES))
    today = iter(_new_runs(bench, 2 * TIMES))
    figures: list[Figure] = []

    def one(name: str, work: Callable[[Session], object]) -> None:
        def timed() -> None:
            with unit_of_work(bench.sessions) as session:
                work(session)

        figures.append(median(f"{name}, {label}", repeated(timed, times=TIMES)))

    def insert(session: Session) -> None:
        _insert(session, next(today))

    def read(session: Session) -> None:
        log.read(session, next(runs), start=50, limit=50)

    def get(session: Session) -> None:
        log.get_event(session, next(events), organization_id=bench.principal.organization_id)

    one(f"insert of {BATCH} events", insert)
    one("page of 50 events", read)
    one("one event by its id", get)
    plans = []
    for name, work in {"insert": insert, "page": read, "one event by its id": get}.items():
        plan = _explained(bench, work)
        plans.append(f"--- {name}, {label}\n{plan}")
        figures.append(Figure(f"{name}: blocks", _blocks(plan), "blocks"))
    return figures, plans


def _blocks(plan: str) -> int:
    """The blocks that a statement has looked at: unlike times, no other load changes them."""
    found = re.search(r"^ *Buffers: shared(?: hit=(\d+))?(?: read=(\d+))?", plan, re.MULTILINE)
    assert found is not None, plan
    return sum(int(number or 0) for number in found.groups())


def _new_runs(bench: Bench, count: int) -> list[uuid.UUID]:
    values = {
        "organization": bench.principal.organization_id,
        "user": bench.principal.user_id,
        "assistant": bench.assistant_id,
        "runs": count,
        "events": 0,
        "age": 0,
    }
    with psycopg.connect(bench.url, autocommit=True) as connection:
        made = connection.execute(RUNS + " RETURNING id", values).fetchall()
    return [row[0] for row in made]


def _insert(session: Session, run_id: uuid.UUID) -> None:
    payload = {"type": "TextChunkEvent", "token": "The report says this. " * 6}
    events = [NewEvent(Origin.ASSISTANT, "TextChunkEvent", payload) for _ in range(BATCH)]
    log.insert_at(session, run_id, events, first_seq=0, attempt=1)


def _explained(bench: Bench, work: Callable[[Session], object]) -> str:
    """The plan of the last statement of some work, as it is executed."""
    statements: list[tuple[str, Any]] = []

    def note(_connection: Connection, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    with bench.sessions() as session:
        bind = session.get_bind()
        event.listen(bind, "before_cursor_execute", note)
        work(session)
        event.remove(bind, "before_cursor_execute", note)
        session.rollback()
        statement, parameters = statements[-1]
        explain = f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) {statement}"
        lines = session.connection().exec_driver_sql(explain, parameters).scalars().all()
    return "\n".join(lines)


def measure_deletion(bench: Bench, days: int) -> list[Figure]:
    """Purge half of the days, which are whole, then a day of which one run has to stay."""
    figures = []
    half = Policy(timedelta(days=days // 2), None)
    took, purged = _timed(lambda: _purge(bench, half))
    figures.append(Figure(f"purge of {purged.days} whole days with {purged.events:,} events", took, "s"))
    with unit_of_work(bench.sessions) as session:
        session.execute(
            text(
                "UPDATE runs SET completed_at = now() WHERE id IN (SELECT DISTINCT ON (created_at::date) id"
                " FROM runs WHERE organization_id = :organization ORDER BY created_at::date)"
            ),
            {"organization": bench.principal.organization_id},
        )
    rest = Policy(timedelta(days=days // 2 - max(1, days // 10)), None)
    took, purged = _timed(lambda: _purge(bench, rest))
    figures.append(Figure(f"purge of {purged.events:,} events of other days, by row", took, "s"))
    return figures


def _timed(work: Callable[[], Purged]) -> tuple[float, Purged]:
    began = time.monotonic()
    done = work()
    return time.monotonic() - began, done


def _purge(bench: Bench, policy: Policy) -> Purged:
    total = Purged()
    for _, done in purge(bench.sessions, policy):
        total += done
    return total


def main() -> None:
    """Plant, measure, report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--days", type=int, default=DAYS, help="of 100,000 events each (%(default)s)")
    days = parser.parse_args().days
    PLANS.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory, running_services(Path(directory)) as services:
        settings = services.settings(database_url=services.postgres.url)
        upgrade(settings)
        engine = make_engine(settings)
        bench = _prepare(make_sessions(engine), services.postgres.url)
        plans, planted = [], 0
        for stage in sorted({1, max(2, days // 10), days}):
            while planted < stage:
                planted += 1
                bench.plant(planted)
            bench.settle()
            label = f"{planted * RUNS_A_DAY * EVENTS_A_RUN:,} in {planted} days"
            figures, found = measure(bench, label)
            show(label, figures)
            plans += found
        PLANS.write_text("\n\n".join(plans))
        show("Deletion", measure_deletion(bench, days))
        engine.dispose()


def _prepare(sessions: Sessions, url: str) -> Bench:
    with unit_of_work(sessions) as session:
        organization_id = admin.create_organization(session, "bench").id
        user_id = admin.ensure_member(session, organization_id, "bench@example.com").id
        principal = Principal(organization_id, user_id, user_id, "bench@example.com")
        assistant_id = assistants.create(session, principal, {"name": "bench"}).id
    return Bench(url, sessions, principal, assistant_id)


if __name__ == "__main__":
    main()

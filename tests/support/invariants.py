"""Whether every run that was accepted has its end, and all invariants hold; and who holds a run."""

import uuid
from collections.abc import Sequence
from typing import Any, Final

import psutil
import psycopg
from psycopg.rows import dict_row
from sqlalchemy import select
from sqlalchemy.orm import Session

from cli.doctor.invariants import check
from shared.db import make_engine
from shared.lifecycle import TERMINAL
from shared.models import Run
from shared.settings import Settings
from tests.support.waiting import wait_until

OUTAGE_PATIENCE: Final = 20.0  # seconds for PostgreSQL to be back from a fault


def check_runs(database_url: str, run_ids: Sequence[str]) -> None:
    """Fail unless each run is there and has ended, and every invariant of the database holds."""
    settings = Settings.model_validate({"database_url": database_url, "redis_url": "redis://unused"})
    engine = make_engine(settings, pool_size=1)
    accepted = set(map(uuid.UUID, run_ids))
    try:
        with Session(engine) as session:
            has_ended = select(Run.id).where(Run.id.in_(accepted), Run.status.in_(TERMINAL))
            lost = accepted - set(session.scalars(has_ended))
            broken = [str(violation) for violation in check(session)]
    finally:
        engine.dispose()
    assert lost == set(), "lost, or without an end"
    assert broken == []


def read_row(database_url: str, run_id: str) -> dict[str, Any]:
    """What the table says of a run, with the seconds left of its lease, or None."""
    query = """
        SELECT status, attempt, losses, worker, process,
               extract(epoch FROM lease_expires_at - clock_timestamp())::float AS lease
        FROM runs WHERE id = %s
    """
    with psycopg.connect(database_url, row_factory=dict_row) as connection:
        row = connection.execute(query, [run_id]).fetchone()
    assert row is not None
    return row


def read_events(database_url: str, run_id: str) -> list[tuple[str, dict[str, Any]]]:
    """The log of a run: types and payloads in order."""
    query = "SELECT type, payload FROM run_events WHERE run_id = %s ORDER BY seq"
    with psycopg.connect(database_url) as connection:
        return connection.execute(query, [run_id]).fetchall()


def holder_of(database_url: str, run_id: str, *, attempt: int = 1) -> psutil.Process:
    """The process that executes an attempt of a run, once it is RUNNING."""

    def held() -> str | None:
        row = read_row(database_url, run_id)
        return row["process"] if (row["status"], row["attempt"]) == ("RUNNING", attempt) else None

    process = wait_until(held, timeout=60, what=f"attempt {attempt} of {run_id} to be RUNNING")
    assert process is not None
    return psutil.Process(int(process.rpartition("/")[2]))


def await_words(database_url: str, run_id: str) -> None:
    """Wait until the first words of a run's model are stored."""
    wait_until(
        lambda: "TextChunkEvent" in [kind for kind, _ in read_events(database_url, run_id)],
        timeout=60,
        what=f"{run_id} to say something",
    )


def await_database(database_url: str) -> None:
    """Wait until PostgreSQL takes connections again."""

    def answers() -> bool:
        try:
            psycopg.connect(database_url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    wait_until(answers, timeout=OUTAGE_PATIENCE, pause=0.1, what="PostgreSQL to answer")


def check_taken_over(database_url: str, run_id: str, *, words: int) -> None:
    """Fail unless the first attempt wrote nothing once it was lost, and the second wrote a whole answer.

    Args:
        words: how many the model `words-…` was asked for.
    """
    events = read_events(database_url, run_id)
    types = [kind for kind, _ in events]
    taken = types.index("AssistantRunQueued", 1)
    assert types[taken : taken + 3] == ["AssistantRunQueued", "AssistantRunStarting", "AssistantRunRunning"]
    assert [payload["attempt"] for _, payload in events[taken : taken + 3]] == [1, 2, 2]
    assert types.count("AssistantRunRunning") == 2
    chunks = [payload["token"] for kind, payload in events[taken:] if kind == "TextChunkEvent"]
    assert "".join(chunks).split() == [f"word{n}" for n in range(words)]
    row = read_row(database_url, run_id)
    assert (row["status"], row["attempt"], row["losses"]) == ("SUCCEEDED", 2, 1)

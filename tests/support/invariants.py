"""What must hold of every run that was accepted, asked of PostgreSQL in SQL; and who holds a run."""

from collections.abc import Sequence
from typing import Any, Final

import psutil
import psycopg
from psycopg.rows import dict_row

from tests.support.waiting import wait_until

TERMINAL: Final = ["SUCCEEDED", "FAILED", "ERROR", "CANCELLED"]
OUTAGE_PATIENCE: Final = 20.0  # seconds for PostgreSQL to be back from a fault

VIOLATIONS: Final = """
    SELECT runs.id::text AS run_id, runs.status, runs.event_count,
           count(events.seq) AS events, min(events.seq) AS first, max(events.seq) AS last,
           count(*) FILTER (WHERE events.type = 'AssistantRunCompleted' AND origin = 'SYSTEM') AS ends,
           max(events.seq) FILTER (WHERE events.type = 'AssistantRunCompleted') AS end_seq,
           count(*) FILTER (WHERE events.type = 'FinishStructureRunEvent' AND origin = 'ASSISTANT') AS answers
    FROM runs LEFT JOIN run_events AS events ON events.run_id = runs.id
    WHERE runs.id = ANY(%(ids)s::uuid[])
    GROUP BY runs.id
    HAVING NOT (
        runs.status = ANY(%(terminal)s)
        AND runs.completed_at IS NOT NULL
        AND count(events.seq) = runs.event_count
        AND min(events.seq) = 0
        AND max(events.seq) = runs.event_count - 1
        AND count(*) FILTER (WHERE events.type = 'AssistantRunCompleted' AND origin = 'SYSTEM') = 1
        AND max(events.seq) FILTER (WHERE events.type = 'AssistantRunCompleted') = runs.event_count - 1
        AND count(*) FILTER (WHERE events.type = 'FinishStructureRunEvent' AND origin = 'ASSISTANT') = 1
    )
"""


def check_runs(database_url: str, run_ids: Sequence[str]) -> None:
    """Fail unless each run is there, has ended, and its log is dense with one end, at its end."""
    with psycopg.connect(database_url, row_factory=dict_row) as connection:
        known = connection.execute(
            "SELECT count(*) AS runs FROM runs WHERE id = ANY(%s::uuid[])", [list(run_ids)]
        ).fetchone()
        assert known == {"runs": len(set(run_ids))}, f"lost among {run_ids}"
        broken = connection.execute(VIOLATIONS, {"ids": list(run_ids), "terminal": TERMINAL}).fetchall()
    assert broken == []


def read_row(database_url: str, run_id: str) -> dict[str, Any]:
    """What the table says of a run: status, attempt, losses, worker, lease (seconds left, or None)."""
    query = """
        SELECT status, attempt, losses, worker,
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
        return row["worker"] if (row["status"], row["attempt"]) == ("RUNNING", attempt) else None

    worker = wait_until(held, timeout=30, what=f"attempt {attempt} of {run_id} to be RUNNING")
    assert worker is not None
    return psutil.Process(int(worker.rpartition("/")[2]))


def await_words(database_url: str, run_id: str) -> None:
    """Wait until the first words of a run's model are stored."""
    wait_until(
        lambda: "TextChunkEvent" in [kind for kind, _ in read_events(database_url, run_id)],
        timeout=30,
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

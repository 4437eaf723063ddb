"""Lists of many runs, assistants and threads are read within indexes, however they are narrowed."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import event

from shared.assistants import queries as assistants
from shared.lifecycle import RunKind, RunStatus
from shared.rows.paging import Part, Position
from shared.runs import lists
from shared.runs.lists import RunFilter, RunList
from shared.threads import queries as threads
from shared.threads.queries import ThreadFilter

RUNS = 20_000  # of an assistant; the plans are those of a hundred thousand
LIMIT = 50
MOST_ROWS = 1_000  # that a part may touch: what it shows, and what an index has to be walked over
T0 = datetime(2026, 1, 1, tzinfo=UTC)
THREADS = 50
LARGE = {"runs", "run_metadata", "assistants", "assistant_metadata", "threads", "thread_metadata"}

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("plans")]

INSERT = """
    INSERT INTO runs (id, organization_id, {subject}, created_by, input, status, status_detail, attempt,
                      event_count, queued_at, completed_at, created_at, thread_id, metadata, output,
                      started_at, waits_for_thread)
    SELECT gen_random_uuid(), %(organization)s, %(subject)s, %(user)s, 'x', drawn.status, drawn.detail, 0, 1,
           drawn.at, CASE WHEN drawn.status <> 'QUEUED' THEN drawn.at END, drawn.at,
           CASE WHEN drawn.status <> 'QUEUED' THEN (%(threads)s::uuid[])[1 + number %% %(count)s] END,
           jsonb_build_object('team', number %% 200, 'env', 'prod'), '{{}}', drawn.at, false
    FROM generate_series(1, %(runs)s) number, LATERAL (
        SELECT CASE WHEN number %% 5000 = 0 THEN 'QUEUED' WHEN number %% 50 = 0 THEN 'FAILED'
                    ELSE 'SUCCEEDED' END AS status,
               jsonb_build_object('reason', CASE WHEN number %% 5000 = 50 THEN 'TimedOut'
                    WHEN number %% 50 = 0 THEN 'AssistantFailed' ELSE 'Completed' END) AS detail,
               %(start)s::timestamptz + number * interval '1 second' AS at
    ) drawn
"""
OWNERS = """
    WITH made AS (
        INSERT INTO {table} (id, organization_id, name, created_by, created_at, metadata)
        SELECT gen_random_uuid(), %(organization)s, 'x', %(user)s,
               %(start)s::timestamptz + number * interval '1 second',
               jsonb_build_object('team', number %% 200, 'env', 'prod')
        FROM generate_series(1, %(rows)s) number
        RETURNING *
    )
    INSERT INTO {owner}_metadata ({owner}_id, key, value, organization_id, created_at)
    SELECT made.id, pair.key, pair.value, organization_id, created_at
    FROM made, jsonb_each_text(metadata) pair
"""
NOTE = """
    INSERT INTO run_metadata (run_id, key, value, organization_id, subject_id, kind, created_at)
    SELECT id, pair.key, pair.value, organization_id, subject_id,
           CASE WHEN assistant_id IS NULL THEN 'structure' ELSE 'assistant' END, created_at
    FROM runs, jsonb_each_text(metadata) pair
"""


@pytest.fixture
def loaded(committed_sessions, superuser_engine, make_assistant, factories):
    """Runs of an assistant, and a tenth as many of a structure, analyzed."""
    sessions = committed_sessions
    principal = factories.default_principal()
    assistant, structure = make_assistant(), factories.structure()
    with sessions() as session:
        connection = session.connection()
        threads = [
            connection.exec_driver_sql(
                "INSERT INTO threads (id, organization_id, name, created_by)"
                " VALUES (gen_random_uuid(), %s, 'x', %s) RETURNING id",
                (principal.organization_id, principal.user_id),
            ).scalar()
            for _ in range(THREADS)
        ]
        values = {
            "organization": principal.organization_id,
            "user": principal.user_id,
            "threads": threads,
            "count": THREADS,
            "start": T0,
        }
        for name, subject, runs in (
            ("assistant_id", assistant.id, RUNS),
            ("structure_id", structure.id, RUNS // 10),
        ):
            connection.exec_driver_sql(
                INSERT.format(subject=name), {**values, "subject": subject, "runs": runs}
            )
        connection.exec_driver_sql(NOTE)
        session.commit()
    with superuser_engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM (ANALYZE)")  # as autovacuum does, a minute later
    return principal.organization_id, assistant.id, structure.id, threads[0]


def scans(plan):
    """The nodes of a plan that read a table or an index."""
    if plan.get("Relation Name"):
        yield plan
    for below in plan.get("Plans", ()):
        yield from scans(below)


def read_by(scan):
    """The rows that a scan has read, also those that it did not want."""
    return (scan["Actual Rows"] + scan.get("Rows Removed by Filter", 0)) * scan["Actual Loops"]


def explained(session, read):
    """What PostgreSQL does for the statements of a read that look at runs."""
    statements = []
    connection = session.connection()

    def remember(_conn, _cursor, statement, parameters, *_):
        statements.append((statement, parameters))

    event.listen(connection, "before_cursor_execute", remember)
    read()
    event.remove(connection, "before_cursor_execute", remember)
    plans = []
    for statement, parameters in statements:
        text = connection.exec_driver_sql(
            f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters
        ).scalar_one()
        plans.append((text if isinstance(text, list) else json.loads(text))[0]["Plan"])
    return plans


def test_every_part_of_a_list_is_read_within_an_index(committed_sessions, loaded):
    organization_id, assistant_id, structure_id, thread_id = loaded
    middle = T0 + timedelta(seconds=RUNS / 2)
    filters = {
        "all": RunFilter(),
        "status": RunFilter(statuses=frozenset({RunStatus.FAILED})),
        "rare status": RunFilter(statuses=frozenset({RunStatus.QUEUED})),
        "no such status": RunFilter(statuses=frozenset({RunStatus.CANCELLED})),
        "several": RunFilter(statuses=frozenset({RunStatus.FAILED, RunStatus.QUEUED, RunStatus.SUCCEEDED})),
        "reason": RunFilter(reason="AssistantFailed"),
        "rare reason": RunFilter(reason="TimedOut"),
        "no such reason": RunFilter(reason="WorkerLost"),
        "reason and status": RunFilter(reason="TimedOut", statuses=frozenset({RunStatus.FAILED})),
        "common reason": RunFilter(reason="Completed"),
        "time": RunFilter(created_after=middle, created_before=middle + timedelta(minutes=5)),
        "time and status": RunFilter(created_before=middle, statuses=frozenset({RunStatus.FAILED})),
        "thread": RunFilter(thread_id=thread_id),
        "no such thread": RunFilter(thread_id=uuid.uuid4()),
        "metadata": RunFilter(metadata={"team": "7"}),
        "common metadata": RunFilter(metadata={"env": "prod"}),
        "both": RunFilter(metadata={"team": "7", "env": "prod"}),
        "no such metadata": RunFilter(metadata={"team": "none"}),
    }
    walks = [
        Part(limit=LIMIT, is_walk=True),
        Part(limit=LIMIT, is_walk=True, after=Position(middle, uuid.uuid4())),
    ]
    of = [
        RunList(organization_id, subject_id=assistant_id),
        RunList(organization_id),
        RunList(organization_id, is_oldest_first=True),
        RunList(organization_id, RunKind.STRUCTURE),
        RunList(organization_id, RunKind.STRUCTURE, structure_id),
    ]
    slow = []
    with committed_sessions() as session:
        for listed in of:
            for name, wanted in filters.items():
                for part in walks:
                    read = partial(lists.page, session, listed, part, wanted, is_light=True)
                    found = [scan for plan in explained(session, read) for scan in scans(plan)]
                    rows = sum(map(read_by, found))
                    whole = {scan["Relation Name"] for scan in found if scan["Node Type"] == "Seq Scan"}
                    if rows > MOST_ROWS or whole & LARGE:
                        slow.append((name, listed, part.after, rows, whole))
    assert slow == []


@pytest.fixture
def owners(committed_sessions, superuser_engine, factories):
    """Assistants and threads of an organization, and as many of another that notes the same."""
    mine, other = factories.default_principal(), factories.principal()
    with committed_sessions() as session:
        for principal in (mine, other):
            for owner in ("assistant", "thread"):
                values = {
                    "organization": principal.organization_id,
                    "user": principal.user_id,
                    "start": T0,
                    "rows": RUNS,
                }
                statement = OWNERS.format(table=f"{owner}s", owner=owner)
                session.connection().exec_driver_sql(statement, values)
        session.commit()
    with superuser_engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM (ANALYZE)")
    return mine.organization_id


def test_assistants_and_threads_are_found_within_an_index(committed_sessions, owners):
    middle = T0 + timedelta(seconds=RUNS / 2)
    walks = [
        Part(limit=LIMIT, is_walk=True),
        Part(limit=LIMIT, is_walk=True, after=Position(middle, uuid.uuid4())),
    ]
    slow = []
    with committed_sessions() as session:
        for metadata in ({"team": "7"}, {"env": "prod"}, {"team": "7", "env": "prod"}, {"team": "none"}):
            for part in walks:
                for read in (
                    partial(assistants.page, session, organization_id=owners, metadata=metadata, part=part),
                    partial(
                        threads.page,
                        session,
                        ThreadFilter(metadata=metadata),
                        organization_id=owners,
                        part=part,
                    ),
                ):
                    found = [scan for plan in explained(session, read) for scan in scans(plan)]
                    rows = sum(map(read_by, found))
                    whole = {scan["Relation Name"] for scan in found if scan["Node Type"] == "Seq Scan"}
                    if rows > MOST_ROWS or whole & LARGE:
                        slow.append((metadata, read.func.__module__, part.after, rows, whole))
    assert slow == []

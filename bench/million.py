"""Many runs of one organization, made inside the database: most of them one assistant's."""

import uuid
from pathlib import Path
from typing import Final

import psycopg

MILLION: Final = 1_000_000
SHARE: Final = 0.9  # of the runs, of the one assistant
ENDED: Final = 0.995  # of the runs
OTHER_ASSISTANTS: Final = 20

ASSISTANTS: Final = """
    INSERT INTO assistants (id, organization_id, name, created_by)
    SELECT CASE number WHEN 0 THEN %(busy)s ELSE gen_random_uuid() END,
           %(organization)s, 'assistant ' || number, %(user)s
    FROM generate_series(0, %(others)s) number
"""

RUNS: Final = """
    others AS (
        SELECT array_agg(id) AS ids FROM assistants
        WHERE organization_id = %(organization)s AND id <> %(busy)s
    ), drawn AS MATERIALIZED (
        SELECT number, random() * %(dice)s AS dice, random() AS place,
               now() - interval '9 seconds' * (%(total)s - number) AS created_at
        FROM generate_series(1, %(total)s) number
    ), placed AS (
        SELECT *,
               CASE WHEN place < %(share)s THEN %(busy)s ELSE ids[1 + floor(random() * %(others)s)::int] END
                   AS assistant_id,
               CASE WHEN dice < 0.9 THEN 'SUCCEEDED' WHEN dice < 0.94 THEN 'FAILED'
                    WHEN dice < 0.97 THEN 'CANCELLED' WHEN dice < 0.995 THEN 'ERROR'
                    WHEN dice < 0.997 THEN 'QUEUED' WHEN dice < 0.998 THEN 'STARTING' ELSE 'RUNNING' END
                   AS status
        FROM drawn, others
    )
"""
INSERT: Final = """
    INSERT INTO runs (id, organization_id, assistant_id, created_by, input, args, model, status,
                      status_detail, output, usage, attempt, event_count, worker, lease_expires_at,
                      queued_at, dispatched_at, started_at, completed_at, created_at, updated_at)
    SELECT gen_random_uuid(), %(organization)s, assistant_id, %(user)s,
           'Summarize the report number ' || number || ' in one paragraph for a busy reader.',
           jsonb_build_array('section ' || number), 'openai/gpt-4.1-mini', status,
           CASE WHEN status IN ('SUCCEEDED', 'FAILED', 'ERROR', 'CANCELLED')
                THEN '{"reason": "Completed", "message": "The assistant answered."}'::jsonb END,
           CASE status WHEN 'SUCCEEDED' THEN jsonb_build_object(
               'type', 'TextArtifact', 'value', repeat('The report says this. ', 10)) END,
           '{"input_tokens": 210, "output_tokens": 55}', CASE status WHEN 'QUEUED' THEN 0 ELSE 1 END, 5,
           CASE status WHEN 'QUEUED' THEN NULL ELSE 'runs@worker' END,
           CASE WHEN status IN ('STARTING', 'RUNNING') THEN now() + interval '1 day' END,
           created_at, created_at,
           CASE WHEN status NOT IN ('QUEUED', 'STARTING') THEN created_at + interval '1 second' END,
           CASE WHEN status IN ('SUCCEEDED', 'FAILED', 'ERROR', 'CANCELLED')
                THEN created_at + interval '5 seconds' END,
           created_at, created_at
    FROM placed ORDER BY number
"""

EVENTS: Final = """
    INSERT INTO run_events (run_id, seq, event_id, origin, type, payload, timestamp, attempt, size,
                            created_at)
    SELECT made.id, event.seq, gen_random_uuid(), event.origin, event.type, payload,
           extract(epoch FROM made.created_at) + event.seq, CASE WHEN event.seq > 0 THEN 1 END,
           octet_length(payload::text), made.created_at + event.seq * interval '1 second'
    FROM made
    CROSS JOIN (VALUES (0, 'SYSTEM', 'AssistantRunQueued'), (1, 'SYSTEM', 'AssistantRunStarting'),
                       (2, 'SYSTEM', 'AssistantRunRunning'), (3, 'ASSISTANT', 'FinishStructureRunEvent'),
                       (4, 'SYSTEM', 'AssistantRunCompleted')) event (seq, origin, type)
    CROSS JOIN LATERAL (
        SELECT CASE event.seq
            WHEN 3 THEN jsonb_build_object('type', event.type, 'structure_id', made.id, 'output_task_output',
                jsonb_build_object('type', 'TextArtifact', 'value', repeat('The report says this. ', 10)))
            WHEN 4 THEN jsonb_build_object('type', event.type, 'status', made.status)
            ELSE jsonb_build_object('type', event.type) END AS payload
    ) told
"""
"""The events of runs that have ended, as long as those of a short answer."""


def superuser_url(database_url: str, data_dir: Path) -> str:
    """The URL of the superuser of an embedded server, who may do what the application may not."""
    password = (data_dir / "postgres" / "password").read_text()
    return f"postgresql://runyard:{password}@{database_url.rpartition('@')[2]}"


def load(
    database_url: str,
    *,
    organization_id: uuid.UUID,
    user_id: uuid.UUID,
    total: int = MILLION,
    with_events: bool = False,
) -> uuid.UUID:
    """Load `total` runs; return the id of the assistant that has most of them.

    Args:
        with_events: store the events of each as well; then all runs have ended, so that no worker and no
            reconciler takes an interest in them.
    """
    busy = uuid.uuid4()
    values = {
        "organization": organization_id,
        "user": user_id,
        "busy": busy,
        "others": OTHER_ASSISTANTS,
        "share": SHARE,
        "dice": ENDED if with_events else 1,
        "total": total,
    }
    runs = f"WITH {RUNS} {INSERT}"
    if with_events:
        runs = f"WITH {RUNS}, made AS ({INSERT} RETURNING id, created_at, status) {EVENTS}"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(ASSISTANTS, values)
        connection.execute(runs, values)
        connection.execute("VACUUM (ANALYZE)")  # as autovacuum leaves a table that grows slowly
    return busy

"""Events by the day of their run, a partition a day, so that a day is dropped at once.

Online: the table becomes a partition as it is, and no row is written anew. It gets a column whose default costs
nothing, and a check that is validated while others read and write. Only the exchange that follows keeps them
waiting, for some catalogue rows: milliseconds, whatever the size.

A release before this one goes on: it stores its events in the old table, where this one finds them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

EARLIER = "DATE '0001-01-01'"
"""The day of the events that were stored without one."""

PREPARE = (
    f"ALTER TABLE run_events ADD COLUMN IF NOT EXISTS run_day date DEFAULT {EARLIER} NOT NULL",
    "ALTER TABLE run_events DROP CONSTRAINT IF EXISTS ck_run_events_earlier",
    f"ALTER TABLE run_events ADD CONSTRAINT ck_run_events_earlier CHECK (run_day = {EARLIER}) NOT VALID",
)

EXCHANGE = (
    "ALTER TABLE run_events DROP CONSTRAINT fk_run_events_run_id",
    "ALTER TABLE run_events RENAME TO run_events_earlier",
    """
    CREATE TABLE run_events (
        LIKE run_events_earlier INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE INCLUDING COMPRESSION
    ) PARTITION BY RANGE (run_day)
    """,
    "ALTER TABLE run_events DROP CONSTRAINT ck_run_events_earlier",
    """
    ALTER TABLE run_events ATTACH PARTITION run_events_earlier
    FOR VALUES FROM (MINVALUE) TO (DATE '0001-01-02')
    """,
    "ALTER TABLE run_events_earlier DROP CONSTRAINT ck_run_events_earlier",
    # What a partition has for itself: a run's events are all in one, so that these hold for all of them.
    """
    CREATE FUNCTION index_run_events(partition text) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        EXECUTE format('ALTER TABLE %1$I ADD CONSTRAINT %2$I PRIMARY KEY (run_id, seq)',
            partition, 'pk_' || partition);
        EXECUTE format('CREATE UNIQUE INDEX %2$I ON %1$I (event_id)', partition, 'uq_' || partition || '_event');
        EXECUTE format('CREATE UNIQUE INDEX %2$I ON %1$I (run_id)
            WHERE type IN (''AssistantRunCompleted'', ''StructureRunCompleted'') AND origin = ''SYSTEM''',
            partition, 'uq_' || partition || '_completed');
        EXECUTE format('CREATE UNIQUE INDEX %2$I ON %1$I (run_id)
            WHERE type = ''FinishStructureRunEvent'' AND origin = ''ASSISTANT''',
            partition, 'uq_' || partition || '_finish');
    END $$
    """,
    # The net: events of a day that has no partition, because no reconciler has run for long.
    "CREATE TABLE run_events_other PARTITION OF run_events DEFAULT",
    "SELECT index_run_events('run_events_other')",
    # The application makes nothing: these two are the owner's, and do nothing else.
    """
    CREATE FUNCTION make_days_of_run_events(ahead integer) RETURNS integer LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
    DECLARE
        day date;
        name text;
        made integer := 0;
        today CONSTANT date := (now() AT TIME ZONE 'UTC')::date;
    BEGIN
        IF NOT pg_try_advisory_xact_lock(hashtext('days of run_events')) THEN
            RETURN 0;  -- another reconciler is at it
        END IF;
        FOR day IN
            SELECT today + number FROM generate_series(0, least(ahead, 100)) AS number
            UNION SELECT run_day FROM run_events_other
            ORDER BY 1
        LOOP
            name := to_char(day, '"run_events_"YYYYMMDD');
            CONTINUE WHEN to_regclass(name) IS NOT NULL;
            EXECUTE format('CREATE TABLE %I (LIKE run_events INCLUDING DEFAULTS INCLUDING CONSTRAINTS
                INCLUDING STORAGE INCLUDING COMPRESSION)', name);
            PERFORM index_run_events(name);
            LOCK TABLE run_events_other IN ACCESS EXCLUSIVE MODE;
            EXECUTE format('WITH moved AS (DELETE FROM run_events_other WHERE run_day = %2$L RETURNING *)
                INSERT INTO %1$I SELECT * FROM moved', name, day);
            EXECUTE format('ALTER TABLE run_events ATTACH PARTITION %1$I FOR VALUES FROM (%2$L) TO (%3$L)',
                name, day, day + 1);
            made := made + 1;
        END LOOP;
        RETURN made;
    END $$
    """,
    """
    CREATE FUNCTION drop_day_of_run_events(day date) RETURNS boolean LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
    DECLARE
        name CONSTANT text := to_char(day, '"run_events_"YYYYMMDD');
        start CONSTANT timestamptz := day::timestamp AT TIME ZONE 'UTC';
    BEGIN
        IF NOT pg_try_advisory_xact_lock(hashtext('days of run_events')) THEN
            RETURN false;
        END IF;
        IF to_regclass(name) IS NULL OR start > now() - interval '2 days' THEN
            RETURN false;  -- a transaction may still be storing a run of yesterday
        END IF;
        PERFORM FROM organizations CROSS JOIN LATERAL (
            SELECT FROM runs WHERE organization_id = organizations.id AND assistant_id IS NOT NULL
                AND created_at >= start AND created_at < start + interval '1 day'
            UNION ALL
            SELECT FROM runs WHERE organization_id = organizations.id AND structure_id IS NOT NULL
                AND created_at >= start AND created_at < start + interval '1 day'
        ) AS run LIMIT 1;
        IF FOUND THEN
            RETURN false;
        END IF;
        -- First alone, for long enough to interrupt autovacuum: the drop would hold up all events meanwhile.
        PERFORM set_config('lock_timeout', '3s', true);
        EXECUTE format('LOCK TABLE ONLY %I IN ACCESS EXCLUSIVE MODE', name);
        PERFORM set_config('lock_timeout', '500ms', true);
        EXECUTE format('DROP TABLE %I', name);
        RETURN true;
    END $$
    """,
    # In place of the foreign key, which would look into the partition of every day for each run.
    """
    CREATE FUNCTION delete_events_of_runs() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        day date;
        ids uuid[];
    BEGIN
        FOR day, ids IN
            SELECT (created_at AT TIME ZONE 'UTC')::date, array_agg(id) FROM changed GROUP BY 1
        LOOP
            DELETE FROM run_events WHERE run_day = DATE '0001-01-01' AND run_id = ANY(ids);
            -- The purge says so of days whose partition it drops once the last run is gone.
            CONTINUE WHEN day = ANY (string_to_array(current_setting('runyard.whole_days', true), ',')::date[]);
            DELETE FROM run_events WHERE run_day = day AND run_id = ANY(ids);
        END LOOP;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER delete_events AFTER DELETE ON runs REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION delete_events_of_runs()
    """,
    "SELECT make_days_of_run_events(7)",
)

UNDO = (
    "DROP TRIGGER delete_events ON runs",
    "DROP FUNCTION delete_events_of_runs",
    "DROP FUNCTION drop_day_of_run_events",
    "DROP FUNCTION make_days_of_run_events",
    "DROP FUNCTION index_run_events",
    """
    CREATE TEMPORARY TABLE events_of_days ON COMMIT DROP AS
    SELECT * FROM run_events WHERE run_day > DATE '0001-01-01'
    """,
    "DELETE FROM events_of_days WHERE run_id NOT IN (SELECT id FROM runs)",
    "ALTER TABLE run_events DETACH PARTITION run_events_earlier",
    "DROP TABLE run_events",
    "ALTER TABLE run_events_earlier RENAME TO run_events",
    "INSERT INTO run_events SELECT * FROM events_of_days",
    "ALTER TABLE run_events DROP COLUMN run_day",
    """
    ALTER TABLE run_events ADD CONSTRAINT fk_run_events_run_id
    FOREIGN KEY (run_id) REFERENCES runs (id) ON DELETE CASCADE
    """,
)


def upgrade() -> None:
    with op.get_context().autocommit_block():  # begun anew, it does what is missing
        for statement in PREPARE:
            op.execute(statement)
        op.execute("ALTER TABLE run_events VALIDATE CONSTRAINT ck_run_events_earlier")
    schema = op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))
    for statement in EXCHANGE:
        op.execute(statement.replace("{schema}", schema))


def downgrade() -> None:
    for statement in UNDO:
        op.execute(statement)

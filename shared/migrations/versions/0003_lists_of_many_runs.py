"""Lists of many runs: an index by status, and tallies of the runs that have ended.

The tallies are kept by triggers, so that runs which the release before this one ends are counted, too.
Plain CREATE INDEX, as no data set in the field is large: writers wait while the index is built and the
runs are counted, some seconds for a million.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ADD = """
CREATE FUNCTION add_to_run_tally(organization uuid, assistant uuid, ended_as text, change bigint)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE run_tallies SET runs = runs + change WHERE id = (
        SELECT id FROM run_tallies
        WHERE organization_id = organization AND assistant_id = assistant AND status = ended_as
        LIMIT 1 FOR UPDATE SKIP LOCKED
    );
    IF NOT FOUND THEN  -- and nothing if the assistant is being deleted, and its tallies with it
        INSERT INTO run_tallies (organization_id, assistant_id, status, runs)
        SELECT organization, assistant, ended_as, change FROM assistants WHERE id = assistant;
    END IF;
END $$
"""

TALLY_MANY = """
CREATE FUNCTION tally_runs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM add_to_run_tally(organization_id, assistant_id, status, count(*) * TG_ARGV[0]::bigint)
    FROM changed WHERE completed_at IS NOT NULL
    GROUP BY organization_id, assistant_id, status;
    RETURN NULL;
END $$
"""

TALLY_ONE = """
CREATE FUNCTION tally_run() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.completed_at IS NOT NULL THEN
        PERFORM add_to_run_tally(OLD.organization_id, OLD.assistant_id, OLD.status, -1);
    END IF;
    IF NEW.completed_at IS NOT NULL THEN
        PERFORM add_to_run_tally(NEW.organization_id, NEW.assistant_id, NEW.status, 1);
    END IF;
    RETURN NULL;
END $$
"""

TRIGGERS = (
    """
    CREATE TRIGGER tally_inserted AFTER INSERT ON runs REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION tally_runs('1')
    """,
    """
    CREATE TRIGGER tally_deleted AFTER DELETE ON runs REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION tally_runs('-1')
    """,
    # Neither a heartbeat nor an appended event names the status: they do not come here.
    """
    CREATE TRIGGER tally_ended AFTER UPDATE OF status ON runs FOR EACH ROW
    WHEN (OLD.status <> NEW.status AND (OLD.completed_at IS NOT NULL OR NEW.completed_at IS NOT NULL))
    EXECUTE FUNCTION tally_run()
    """,
)

COUNT = """
INSERT INTO run_tallies (organization_id, assistant_id, status, runs)
SELECT organization_id, assistant_id, status, count(*) FROM runs
WHERE completed_at IS NOT NULL GROUP BY organization_id, assistant_id, status
"""


def upgrade() -> None:
    op.create_table(
        "run_tallies",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("assistant_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.String(9), nullable=False),
        sa.Column("runs", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "status IN ('CANCELLED', 'ERROR', 'FAILED', 'SUCCEEDED')", name=op.f("ck_run_tallies_ended")
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "assistant_id"],
            ["assistants.organization_id", "assistants.id"],
            name=op.f("fk_run_tallies_organization_id_assistant_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run_tallies")),
        postgresql_with={"fillfactor": 50},
    )
    op.create_index(
        "ix_run_tallies_status", "run_tallies", ["organization_id", "assistant_id", "status"], unique=False
    )
    # No writer of runs is left before the first trigger is there, and none returns before the commit:
    # between the trigger and the count no run is missed or counted twice.
    for statement in (ADD, TALLY_MANY, TALLY_ONE, *TRIGGERS, COUNT):
        op.execute(statement)
    op.create_index(
        "ix_runs_status",
        "runs",
        ["organization_id", "assistant_id", "status", sa.literal_column("created_at DESC"), "id"],
        unique=False,
    )


def downgrade() -> None:
    op.drop_index("ix_runs_status", table_name="runs")
    for trigger in ("tally_ended", "tally_deleted", "tally_inserted"):
        op.execute(f"DROP TRIGGER {trigger} ON runs")
    for function in ("tally_run", "tally_runs", "add_to_run_tally"):
        op.execute(f"DROP FUNCTION {function}")
    op.drop_table("run_tallies")

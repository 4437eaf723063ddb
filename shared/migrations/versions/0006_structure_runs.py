"""Structures, and runs of them: the same table of runs, another subject.

Lists and tallies go by `subject_id`, which is the assistant or the structure. The table of runs is
written anew for it, some seconds for a million, during which runs cannot be written.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

DROP_TALLIES = (
    "DROP TRIGGER tally_ended ON runs",
    "DROP TRIGGER tally_deleted ON runs",
    "DROP TRIGGER tally_inserted ON runs",
    "DROP FUNCTION tally_run",
    "DROP FUNCTION tally_runs",
    "DROP FUNCTION add_to_run_tally",
)

TALLIES = (
    """
    CREATE FUNCTION add_to_run_tally(organization uuid, subject uuid, ended_as text, change bigint)
    RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        UPDATE run_tallies SET runs = runs + change WHERE id = (
            SELECT id FROM run_tallies
            WHERE organization_id = organization AND {subject} = subject AND status = ended_as
            LIMIT 1 FOR UPDATE SKIP LOCKED
        );
        IF NOT FOUND THEN  -- and nothing if the owner is being deleted, and its tallies with it
            INSERT INTO run_tallies (organization_id, {subject}, status, runs)
            SELECT organization, subject, ended_as, change FROM {owner};
        END IF;
    END $$
    """,
    """
    CREATE FUNCTION tally_runs() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM add_to_run_tally(organization_id, {subject}, status, count(*) * TG_ARGV[0]::bigint)
        FROM changed WHERE completed_at IS NOT NULL
        GROUP BY organization_id, {subject}, status;
        RETURN NULL;
    END $$
    """,
    """
    CREATE FUNCTION tally_run() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF OLD.completed_at IS NOT NULL THEN
            PERFORM add_to_run_tally(OLD.organization_id, OLD.{subject}, OLD.status, -1);
        END IF;
        IF NEW.completed_at IS NOT NULL THEN
            PERFORM add_to_run_tally(NEW.organization_id, NEW.{subject}, NEW.status, 1);
        END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER tally_inserted AFTER INSERT ON runs REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION tally_runs('1')
    """,
    """
    CREATE TRIGGER tally_deleted AFTER DELETE ON runs REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION tally_runs('-1')
    """,
    """
    CREATE TRIGGER tally_ended AFTER UPDATE OF status ON runs FOR EACH ROW
    WHEN (OLD.status <> NEW.status AND (OLD.completed_at IS NOT NULL OR NEW.completed_at IS NOT NULL))
    EXECUTE FUNCTION tally_run()
    """,
)

COUNTERS = "attempt >= 0 AND losses BETWEEN 0 AND attempt AND event_count >= 0"


def upgrade() -> None:
    _create_structures()
    for statement in DROP_TALLIES:
        op.execute(statement)
    _widen_runs()
    _widen_tallies()
    for statement in TALLIES:
        op.execute(statement.format(subject="subject_id", owner="organizations WHERE id = organization"))
    _create_outputs()
    op.add_column("api_keys", sa.Column("run_id", sa.Uuid(), nullable=True))
    op.add_column("api_keys", sa.Column("run_attempt", sa.Integer(), nullable=True))
    op.create_foreign_key(
        op.f("fk_api_keys_run_id"), "api_keys", "runs", ["run_id"], ["id"], ondelete="CASCADE"
    )
    op.create_index(op.f("ix_api_keys_run_id"), "api_keys", ["run_id"], unique=False)
    op.create_check_constraint(
        op.f("ck_api_keys_of_one_attempt"), "api_keys", "(run_id IS NULL) = (run_attempt IS NULL)"
    )
    op.drop_index("uq_run_events_completed", table_name="run_events")
    op.create_index(
        "uq_run_events_completed",
        "run_events",
        ["run_id"],
        unique=True,
        postgresql_where=sa.text(
            "type IN ('AssistantRunCompleted', 'StructureRunCompleted') AND origin = 'SYSTEM'"
        ),
    )


def _create_structures() -> None:
    op.create_table(
        "structures",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("description", sa.String(), server_default="", nullable=False),
        sa.Column("code", postgresql.JSONB(), nullable=False),
        sa.Column("env_vars", postgresql.JSONB(), server_default="[]", nullable=False),
        sa.Column("structure_config_file", sa.String(), nullable=True),
        sa.Column("webhook_enabled", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("latest_deployment_id", sa.Uuid(), nullable=True),
        sa.Column("created_by", sa.Uuid(), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("max_duration", sa.Interval(), nullable=True),
        sa.Column("queue_ttl", sa.Interval(), nullable=True),
        sa.Column("max_attempts", sa.Integer(), nullable=True),
        *_identity(),
        sa.CheckConstraint(
            "max_duration > interval '0' AND queue_ttl > interval '0' AND max_attempts > 0",
            name=op.f("ck_structures_limits"),
        ),
        sa.CheckConstraint("length(name) between 1 and 200", name=op.f("ck_structures_name_length")),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("fk_structures_created_by")),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.id"],
            name=op.f("fk_structures_organization_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_structures")),
        sa.UniqueConstraint("organization_id", "id", name=op.f("uq_structures_organization_id_id")),
    )
    op.create_index(
        "ix_structures_page",
        "structures",
        ["organization_id", sa.literal_column("created_at DESC"), "id"],
        unique=False,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_table(
        "deployments",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("structure_id", sa.Uuid(), nullable=False),
        sa.Column(
            "status",
            sa.Enum("SUCCEEDED", "ERROR", name="status", native_enum=False, create_constraint=True),
            nullable=False,
        ),
        sa.Column("status_detail", postgresql.JSONB(), nullable=True),
        sa.Column("code_source", postgresql.JSONB(), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=False),
        *_identity(),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("fk_deployments_created_by")),
        sa.ForeignKeyConstraint(
            ["organization_id", "structure_id"],
            ["structures.organization_id", "structures.id"],
            name=op.f("fk_deployments_organization_id_structure_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deployments")),
    )
    op.create_index(
        "ix_deployments_page",
        "deployments",
        ["organization_id", "structure_id", sa.literal_column("created_at DESC"), "id"],
        unique=False,
    )


def _identity() -> tuple["sa.Column[object]", ...]:
    return (
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
    )


def _widen_runs() -> None:
    op.alter_column("runs", "assistant_id", nullable=True)
    op.add_column("runs", sa.Column("structure_id", sa.Uuid(), nullable=True))
    op.add_column(
        "runs",
        sa.Column(
            "subject_id",
            sa.Uuid(),
            sa.Computed("coalesce(assistant_id, structure_id)", persisted=True),
            nullable=False,
        ),
    )
    op.add_column("runs", sa.Column("parent_run_id", sa.Uuid(), nullable=True))
    op.add_column("runs", sa.Column("deployment_id", sa.Uuid(), nullable=True))
    op.add_column("runs", sa.Column("is_external", sa.Boolean(), server_default="false", nullable=False))
    op.add_column("runs", sa.Column("env_vars", postgresql.JSONB(), nullable=True))
    op.add_column("runs", sa.Column("output_at", sa.Float(), nullable=True))
    op.add_column("runs", sa.Column("log_count", sa.Integer(), server_default="0", nullable=False))
    op.create_foreign_key(
        op.f("fk_runs_organization_id_structure_id"),
        "runs",
        "structures",
        ["organization_id", "structure_id"],
        ["organization_id", "id"],
        ondelete="CASCADE",
    )
    op.create_foreign_key(
        op.f("fk_runs_parent_run_id"), "runs", "runs", ["parent_run_id"], ["id"], ondelete="SET NULL"
    )
    for name in ("success_has_output", "counters"):
        op.drop_constraint(op.f(f"ck_runs_{name}"), "runs")
    for name, rule in (
        ("one_subject", "num_nonnulls(assistant_id, structure_id) = 1"),
        ("external", "NOT is_external OR structure_id IS NOT NULL"),
        ("success_has_output", "status <> 'SUCCEEDED' OR output IS NOT NULL OR structure_id IS NOT NULL"),
        ("counters", f"{COUNTERS} AND log_count >= 0"),
    ):
        op.create_check_constraint(op.f(f"ck_runs_{name}"), "runs", rule)
    _index_runs("subject_id")
    op.create_index(
        "ix_runs_parent",
        "runs",
        ["parent_run_id"],
        unique=False,
        postgresql_where=sa.text("parent_run_id IS NOT NULL"),
    )


def _index_runs(subject: str) -> None:
    newest: sa.ColumnClause[object] = sa.literal_column("created_at DESC")
    op.drop_index("ix_runs_page", table_name="runs")
    op.create_index("ix_runs_page", "runs", ["organization_id", subject, newest, "id"], unique=False)
    op.drop_index("ix_runs_status", table_name="runs")
    op.create_index(
        "ix_runs_status", "runs", ["organization_id", subject, "status", newest, "id"], unique=False
    )


def _widen_tallies() -> None:
    op.drop_constraint(op.f("fk_run_tallies_organization_id_assistant_id"), "run_tallies")
    op.alter_column("run_tallies", "assistant_id", new_column_name="subject_id")
    op.create_foreign_key(
        op.f("fk_run_tallies_organization_id"),
        "run_tallies",
        "organizations",
        ["organization_id"],
        ["id"],
        ondelete="CASCADE",
    )


def _create_outputs() -> None:
    op.create_table(
        "run_log_lines",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("stream", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint("seq >= 0", name=op.f("ck_run_log_lines_seq")),
        sa.CheckConstraint("stream IN ('stdout', 'stderr')", name=op.f("ck_run_log_lines_stream")),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name=op.f("fk_run_log_lines_run_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "seq", name=op.f("pk_run_log_lines")),
    )
    op.create_table(
        "run_spans",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("span_id", sa.String(), nullable=False),
        sa.Column("span", postgresql.JSONB(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name=op.f("fk_run_spans_run_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run_spans")),
    )
    op.create_index("uq_run_spans_span", "run_spans", ["run_id", "span_id"], unique=True)


def downgrade() -> None:
    op.execute("DELETE FROM runs WHERE structure_id IS NOT NULL")
    op.execute("DELETE FROM run_tallies WHERE subject_id IN (SELECT id FROM structures)")
    op.drop_index("uq_run_events_completed", table_name="run_events")
    op.create_index(
        "uq_run_events_completed",
        "run_events",
        ["run_id"],
        unique=True,
        postgresql_where=sa.text("type = 'AssistantRunCompleted' AND origin = 'SYSTEM'"),
    )
    op.drop_constraint(op.f("ck_api_keys_of_one_attempt"), "api_keys")
    op.drop_index(op.f("ix_api_keys_run_id"), table_name="api_keys")
    op.drop_constraint(op.f("fk_api_keys_run_id"), "api_keys")
    op.drop_column("api_keys", "run_attempt")
    op.drop_column("api_keys", "run_id")
    op.drop_table("run_spans")
    op.drop_table("run_log_lines")
    for statement in DROP_TALLIES:
        op.execute(statement)
    op.drop_constraint(op.f("fk_run_tallies_organization_id"), "run_tallies")
    op.alter_column("run_tallies", "subject_id", new_column_name="assistant_id")
    op.create_foreign_key(
        op.f("fk_run_tallies_organization_id_assistant_id"),
        "run_tallies",
        "assistants",
        ["organization_id", "assistant_id"],
        ["organization_id", "id"],
        ondelete="CASCADE",
    )
    _index_runs("assistant_id")
    op.drop_index("ix_runs_parent", table_name="runs")
    for name in ("one_subject", "external", "success_has_output", "counters"):
        op.drop_constraint(op.f(f"ck_runs_{name}"), "runs")
    op.create_check_constraint(
        op.f("ck_runs_success_has_output"), "runs", "status <> 'SUCCEEDED' OR output IS NOT NULL"
    )
    op.create_check_constraint(op.f("ck_runs_counters"), "runs", COUNTERS)
    op.drop_constraint(op.f("fk_runs_parent_run_id"), "runs")
    op.drop_constraint(op.f("fk_runs_organization_id_structure_id"), "runs")
    for column in (
        "log_count", "output_at", "env_vars", "is_external", "deployment_id", "parent_run_id",
        "subject_id", "structure_id",
    ):  # fmt: skip
        op.drop_column("runs", column)
    op.alter_column("runs", "assistant_id", nullable=False)
    for statement in TALLIES:
        op.execute(statement.format(subject="assistant_id", owner="assistants WHERE id = subject"))
    op.drop_table("deployments")
    op.drop_table("structures")

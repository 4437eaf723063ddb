"""The first tables."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("email", sa.String(), nullable=False),
        sa.Column("name", sa.String(), server_default="", nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
    )
    op.create_index("uq_users_email", "users", [sa.literal_column("lower(email)")], unique=True)
    op.create_table(
        "organizations",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("description", sa.String(), server_default="", nullable=False),
        sa.Column("default_bucket_id", sa.Uuid(), nullable=False),
        sa.Column("entitlement", sa.String(), server_default="FREE", nullable=False),
        sa.Column(
            "default_models", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("length(name) between 1 and 200", name=op.f("ck_organizations_name_length")),
        sa.ForeignKeyConstraint(
            ["created_by"], ["users.id"], name=op.f("fk_organizations_created_by"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_organizations")),
    )
    op.create_table(
        "assistants",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("description", sa.String(), server_default="", nullable=False),
        sa.Column("input", sa.String(), nullable=True),
        sa.Column("model", sa.String(), nullable=True),
        sa.Column("created_by", sa.Uuid(), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("knowledge_base_ids", postgresql.ARRAY(sa.Uuid()), server_default="{}", nullable=False),
        sa.Column("retriever_ids", postgresql.ARRAY(sa.Uuid()), server_default="{}", nullable=False),
        sa.Column("ruleset_ids", postgresql.ARRAY(sa.Uuid()), server_default="{}", nullable=False),
        sa.Column("structure_ids", postgresql.ARRAY(sa.Uuid()), server_default="{}", nullable=False),
        sa.Column("tool_ids", postgresql.ARRAY(sa.Uuid()), server_default="{}", nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("length(name) between 1 and 200", name=op.f("ck_assistants_name_length")),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("fk_assistants_created_by")),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.id"],
            name=op.f("fk_assistants_organization_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_assistants")),
        sa.UniqueConstraint("organization_id", "id", name=op.f("uq_assistants_organization_id_id")),
    )
    op.create_index(
        "ix_assistants_page",
        "assistants",
        ["organization_id", sa.literal_column("created_at DESC"), "id"],
        unique=False,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_table(
        "memberships",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.id"],
            name=op.f("fk_memberships_organization_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_memberships_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("organization_id", "user_id", name=op.f("pk_memberships")),
    )
    op.create_index(op.f("ix_memberships_user_id"), "memberships", ["user_id"], unique=False)
    op.create_table(
        "api_keys",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("secret_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("length(name) between 1 and 200", name=op.f("ck_api_keys_name_length")),
        sa.CheckConstraint("length(secret_sha256) = 32", name=op.f("ck_api_keys_secret_is_sha256")),
        sa.ForeignKeyConstraint(
            ["organization_id", "user_id"],
            ["memberships.organization_id", "memberships.user_id"],
            name=op.f("fk_api_keys_organization_id_user_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("secret_sha256", name=op.f("uq_api_keys_secret_sha256")),
    )
    op.create_index(op.f("ix_api_keys_organization_id"), "api_keys", ["organization_id"], unique=False)
    op.create_index(op.f("ix_api_keys_user_id"), "api_keys", ["user_id"], unique=False)
    op.create_table(
        "runs",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("assistant_id", sa.Uuid(), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=False),
        sa.Column("input", sa.String(), nullable=True),
        sa.Column("args", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False),
        sa.Column("stream", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("model", sa.String(), nullable=True),
        sa.Column(
            "status",
            sa.Enum(
                "QUEUED",
                "STARTING",
                "RUNNING",
                "SUCCEEDED",
                "FAILED",
                "ERROR",
                "CANCELLED",
                name="status",
                native_enum=False,
                create_constraint=True,
            ),
            nullable=False,
        ),
        sa.Column("status_detail", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("output", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("usage", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("losses", sa.Integer(), server_default="0", nullable=False),
        sa.Column("event_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("is_stopping", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("queued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("dispatched_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("dispatch_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("knowledge_base_ids", postgresql.ARRAY(sa.Uuid()), server_default="{}", nullable=False),
        sa.Column("retriever_ids", postgresql.ARRAY(sa.Uuid()), server_default="{}", nullable=False),
        sa.Column("ruleset_ids", postgresql.ARRAY(sa.Uuid()), server_default="{}", nullable=False),
        sa.Column("structure_ids", postgresql.ARRAY(sa.Uuid()), server_default="{}", nullable=False),
        sa.Column("tool_ids", postgresql.ARRAY(sa.Uuid()), server_default="{}", nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "(status IN ('CANCELLED', 'ERROR', 'FAILED', 'SUCCEEDED')) = (completed_at IS NOT NULL)",
            name=op.f("ck_runs_one_end"),
        ),
        sa.CheckConstraint(
            "NOT (status IN ('RUNNING', 'STARTING')) OR (worker IS NOT NULL AND lease_expires_at IS NOT NULL)",
            name=op.f("ck_runs_held_by_a_worker"),
        ),
        sa.CheckConstraint(
            "NOT is_stopping OR (status = 'CANCELLED' AND lease_expires_at IS NOT NULL)",
            name=op.f("ck_runs_stopping"),
        ),
        sa.CheckConstraint(
            "lease_expires_at IS NULL OR status IN ('RUNNING', 'STARTING') OR is_stopping",
            name=op.f("ck_runs_lease_is_held"),
        ),
        sa.CheckConstraint(
            "status <> 'SUCCEEDED' OR output IS NOT NULL", name=op.f("ck_runs_success_has_output")
        ),
        sa.CheckConstraint(
            "status NOT IN ('RUNNING', 'SUCCEEDED', 'FAILED') OR started_at IS NOT NULL",
            name=op.f("ck_runs_started"),
        ),
        sa.CheckConstraint(
            "attempt >= 0 AND losses BETWEEN 0 AND attempt AND event_count >= 0",
            name=op.f("ck_runs_counters"),
        ),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("fk_runs_created_by")),
        sa.ForeignKeyConstraint(
            ["organization_id", "assistant_id"],
            ["assistants.organization_id", "assistants.id"],
            name=op.f("fk_runs_organization_id_assistant_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
        postgresql_with={"fillfactor": 80},
    )
    op.create_index(
        "ix_runs_held",
        "runs",
        ["id"],
        unique=False,
        postgresql_where=sa.text("status IN ('RUNNING', 'STARTING')"),
    )
    op.create_index(
        "ix_runs_page",
        "runs",
        ["organization_id", "assistant_id", sa.literal_column("created_at DESC"), "id"],
        unique=False,
    )
    op.create_index(
        "ix_runs_queued", "runs", ["created_at"], unique=False, postgresql_where=sa.text("status = 'QUEUED'")
    )
    op.create_index("ix_runs_stopping", "runs", ["id"], unique=False, postgresql_where=sa.text("is_stopping"))
    op.create_table(
        "run_events",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column(
            "origin",
            sa.Enum("ASSISTANT", "SYSTEM", "USER", name="origin", native_enum=False, create_constraint=True),
            nullable=False,
        ),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("payload", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("timestamp", sa.Double(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint("jsonb_typeof(payload) = 'object'", name=op.f("ck_run_events_payload_is_object")),
        sa.CheckConstraint("seq >= 0", name=op.f("ck_run_events_seq")),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name=op.f("fk_run_events_run_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "seq", name=op.f("pk_run_events")),
        sa.UniqueConstraint("event_id", name=op.f("uq_run_events_event_id")),
    )
    op.create_index(
        "uq_run_events_completed",
        "run_events",
        ["run_id"],
        unique=True,
        postgresql_where=sa.text("type = 'AssistantRunCompleted' AND origin = 'SYSTEM'"),
    )
    op.create_index(
        "uq_run_events_finish",
        "run_events",
        ["run_id"],
        unique=True,
        postgresql_where=sa.text("type = 'FinishStructureRunEvent' AND origin = 'ASSISTANT'"),
    )


def downgrade() -> None:
    op.drop_index(
        "uq_run_events_finish",
        table_name="run_events",
        postgresql_where=sa.text("type = 'FinishStructureRunEvent' AND origin = 'ASSISTANT'"),
    )
    op.drop_index(
        "uq_run_events_completed",
        table_name="run_events",
        postgresql_where=sa.text("type = 'AssistantRunCompleted' AND origin = 'SYSTEM'"),
    )
    op.drop_table("run_events")
    op.drop_index("ix_runs_stopping", table_name="runs", postgresql_where=sa.text("is_stopping"))
    op.drop_index("ix_runs_queued", table_name="runs", postgresql_where=sa.text("status = 'QUEUED'"))
    op.drop_index("ix_runs_page", table_name="runs")
    op.drop_index(
        "ix_runs_held", table_name="runs", postgresql_where=sa.text("status IN ('RUNNING', 'STARTING')")
    )
    op.drop_table("runs")
    op.drop_index(op.f("ix_api_keys_user_id"), table_name="api_keys")
    op.drop_index(op.f("ix_api_keys_organization_id"), table_name="api_keys")
    op.drop_table("api_keys")
    op.drop_index(op.f("ix_memberships_user_id"), table_name="memberships")
    op.drop_table("memberships")
    op.drop_index(
        "ix_assistants_page", table_name="assistants", postgresql_where=sa.text("deleted_at IS NULL")
    )
    op.drop_table("assistants")
    op.drop_table("organizations")
    op.drop_index("uq_users_email", table_name="users")
    op.drop_table("users")

"""Threads, rulesets, rules."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "rules",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("rule", sa.String(), nullable=False),
        sa.Column(
            "metadata",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
        ),
        sa.Column("created_by", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("jsonb_typeof(metadata) = 'object'", name=op.f("ck_rules_metadata_is_object")),
        sa.CheckConstraint("length(name) between 1 and 200", name=op.f("ck_rules_name_length")),
        sa.CheckConstraint("length(rule) between 1 and 2000", name=op.f("ck_rules_rule_length")),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("fk_rules_created_by")),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.id"],
            name=op.f("fk_rules_organization_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rules")),
    )
    op.create_index(
        "ix_rules_page",
        "rules",
        ["organization_id", sa.literal_column("created_at DESC"), "id"],
        unique=False,
    )
    op.create_table(
        "rulesets",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("alias", sa.String(), nullable=True),
        sa.Column("description", sa.String(), server_default="", nullable=False),
        sa.Column(
            "metadata",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
        ),
        sa.Column("created_by", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("jsonb_typeof(metadata) = 'object'", name=op.f("ck_rulesets_metadata_is_object")),
        sa.CheckConstraint("length(alias) between 1 and 200", name=op.f("ck_rulesets_alias_length")),
        sa.CheckConstraint("length(name) between 1 and 200", name=op.f("ck_rulesets_name_length")),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("fk_rulesets_created_by")),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.id"],
            name=op.f("fk_rulesets_organization_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rulesets")),
    )
    op.create_index(
        "ix_rulesets_page",
        "rulesets",
        ["organization_id", sa.literal_column("created_at DESC"), "id"],
        unique=False,
    )
    op.create_index("uq_rulesets_alias", "rulesets", ["organization_id", "alias"], unique=True)
    op.create_table(
        "threads",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("alias", sa.String(), nullable=True),
        sa.Column(
            "metadata",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
        ),
        sa.Column("created_by", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("jsonb_typeof(metadata) = 'object'", name=op.f("ck_threads_metadata_is_object")),
        sa.CheckConstraint("length(alias) between 1 and 200", name=op.f("ck_threads_alias_length")),
        sa.CheckConstraint("length(name) between 1 and 200", name=op.f("ck_threads_name_length")),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("fk_threads_created_by")),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.id"],
            name=op.f("fk_threads_organization_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_threads")),
        sa.UniqueConstraint("organization_id", "id", name=op.f("uq_threads_organization_id_id")),
    )
    op.create_index(
        "ix_threads_page",
        "threads",
        ["organization_id", sa.literal_column("created_at DESC"), "id"],
        unique=False,
    )
    op.create_index("uq_threads_alias", "threads", ["organization_id", "alias"], unique=True)
    op.create_table(
        "messages",
        sa.Column("thread_id", sa.Uuid(), nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("input", sa.String(), nullable=False),
        sa.Column("output", sa.String(), nullable=False),
        sa.Column(
            "metadata",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
        ),
        sa.Column("created_by", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("jsonb_typeof(metadata) = 'object'", name=op.f("ck_messages_metadata_is_object")),
        sa.CheckConstraint("index >= 0", name=op.f("ck_messages_index")),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("fk_messages_created_by")),
        sa.ForeignKeyConstraint(
            ["thread_id"], ["threads.id"], name=op.f("fk_messages_thread_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_messages")),
        sa.UniqueConstraint("thread_id", "index", name=op.f("uq_messages_thread_id_index")),
    )
    op.create_table(
        "ruleset_rules",
        sa.Column("ruleset_id", sa.Uuid(), nullable=False),
        sa.Column("rule_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["rule_id"], ["rules.id"], name=op.f("fk_ruleset_rules_rule_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["ruleset_id"], ["rulesets.id"], name=op.f("fk_ruleset_rules_ruleset_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("ruleset_id", "rule_id", name=op.f("pk_ruleset_rules")),
    )
    op.create_index(op.f("ix_ruleset_rules_rule_id"), "ruleset_rules", ["rule_id"], unique=False)
    op.add_column("runs", sa.Column("thread_id", sa.Uuid(), nullable=True))
    op.add_column("runs", sa.Column("waits_for_thread", sa.Boolean(), server_default="false", nullable=False))
    op.create_check_constraint(
        op.f("ck_runs_waiting"),
        "runs",
        "NOT waits_for_thread OR attempt = 0",
    )
    op.create_index(
        "ix_runs_thread", "runs", ["thread_id"], postgresql_where=sa.text("thread_id IS NOT NULL")
    )
    op.create_index(
        "ix_runs_waiting",
        "runs",
        ["thread_id", "created_at"],
        unique=False,
        postgresql_where=sa.text("waits_for_thread AND status = 'QUEUED'"),
    )
    op.create_index(
        "uq_runs_thread",
        "runs",
        ["thread_id"],
        unique=True,
        postgresql_where=sa.text(
            "thread_id IS NOT NULL AND status IN ('QUEUED', 'RUNNING', 'STARTING') AND NOT waits_for_thread"
        ),
    )
    op.create_foreign_key(
        op.f("fk_runs_organization_id_thread_id"),
        "runs",
        "threads",
        ["organization_id", "thread_id"],
        ["organization_id", "id"],
        ondelete="SET NULL (thread_id)",
    )


def downgrade() -> None:
    op.drop_constraint(op.f("fk_runs_organization_id_thread_id"), "runs", type_="foreignkey")
    op.drop_index(
        "uq_runs_thread",
        table_name="runs",
        postgresql_where=sa.text(
            "thread_id IS NOT NULL AND status IN ('QUEUED', 'RUNNING', 'STARTING') AND NOT waits_for_thread"
        ),
    )
    op.drop_index(
        "ix_runs_waiting",
        table_name="runs",
        postgresql_where=sa.text("waits_for_thread AND status = 'QUEUED'"),
    )
    op.drop_index("ix_runs_thread", table_name="runs")
    op.drop_constraint(op.f("ck_runs_waiting"), "runs", type_="check")
    op.drop_column("runs", "waits_for_thread")
    op.drop_column("runs", "thread_id")
    op.drop_index(op.f("ix_ruleset_rules_rule_id"), table_name="ruleset_rules")
    op.drop_table("ruleset_rules")
    op.drop_table("messages")
    op.drop_index("uq_threads_alias", table_name="threads")
    op.drop_index("ix_threads_page", table_name="threads")
    op.drop_table("threads")
    op.drop_index("uq_rulesets_alias", table_name="rulesets")
    op.drop_index("ix_rulesets_page", table_name="rulesets")
    op.drop_table("rulesets")
    op.drop_index("ix_rules_page", table_name="rules")
    op.drop_table("rules")

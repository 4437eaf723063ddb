"""What callers note of their runs; and lists of runs by it, by thread, and across what is run.

Plain CREATE INDEX, as in 0003: writers of runs wait while the indexes are built, some seconds for a million.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0017"
down_revision = "0015"
branch_labels = None
depends_on = None

ASSISTANTS = "assistant_id IS NOT NULL"
STRUCTURES = "structure_id IS NOT NULL"


def upgrade() -> None:
    op.add_column(
        "runs", sa.Column("metadata", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False)
    )
    op.create_table(
        "run_metadata",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(9), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name=op.f("fk_run_metadata_run_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "key", name=op.f("pk_run_metadata")),
    )
    op.create_index(
        "ix_run_metadata_kind",
        "run_metadata",
        ["organization_id", "key", "value", "kind", "created_at", "run_id"],
        unique=False,
    )
    op.create_index(
        "ix_run_metadata_subject",
        "run_metadata",
        ["subject_id", "key", "value", sa.literal_column("created_at DESC"), "run_id"],
        unique=False,
    )
    _index("ix_runs_organization_status", ["organization_id", "status", "created_at", "id"], ASSISTANTS)
    _index("ix_runs_structures", ["organization_id", "created_at", "id"], STRUCTURES)
    _index("ix_runs_structures_status", ["organization_id", "status", "created_at", "id"], STRUCTURES)
    _index("ix_runs_on_thread", ["thread_id", "created_at", "id"], "thread_id IS NOT NULL")
    op.drop_index("ix_runs_thread", table_name="runs")


def downgrade() -> None:
    _index("ix_runs_thread", ["thread_id"], "thread_id IS NOT NULL")
    for name in (
        "ix_runs_on_thread",
        "ix_runs_structures_status",
        "ix_runs_structures",
        "ix_runs_organization_status",
    ):
        op.drop_index(name, table_name="runs")
    op.drop_table("run_metadata")
    op.drop_column("runs", "metadata")


def _index(name: str, columns: list[str], condition: str) -> None:
    op.create_index(name, "runs", columns, unique=False, postgresql_where=sa.text(condition))

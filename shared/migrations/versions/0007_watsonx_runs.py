"""What callers of the watsonx dialect say of a run, kept as it was given; and lists of all runs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

COLUMNS = ("llm_params", "guardrails", "additional_parameters")


def upgrade() -> None:
    for name in COLUMNS:
        op.add_column("runs", sa.Column(name, postgresql.JSONB(), nullable=True))
    op.create_index(
        "ix_runs_organization",
        "runs",
        ["organization_id", "created_at", "id"],
        unique=False,
        postgresql_where=sa.text("assistant_id IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_runs_organization", table_name="runs")
    for name in reversed(COLUMNS):
        op.drop_column("runs", name)

"""Limits of a run and of an assistant: its duration, its time in the queue, its attempts."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLES = ("assistants", "runs")


def upgrade() -> None:
    for table in TABLES:
        op.add_column(table, sa.Column("max_duration", sa.Interval(), nullable=True))
        op.add_column(table, sa.Column("queue_ttl", sa.Interval(), nullable=True))
        op.add_column(table, sa.Column("max_attempts", sa.Integer(), nullable=True))
        op.create_check_constraint(
            op.f(f"ck_{table}_limits"),
            table,
            "max_duration > interval '0' AND queue_ttl > interval '0' AND max_attempts > 0",
        )


def downgrade() -> None:
    for table in TABLES:
        op.drop_constraint(op.f(f"ck_{table}_limits"), table)
        for column in ("max_attempts", "queue_ttl", "max_duration"):
            op.drop_column(table, column)

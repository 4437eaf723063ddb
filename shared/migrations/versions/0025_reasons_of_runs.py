"""Runs by the reason of their status, without those that completed: lists of them read one index.

Built while others write. An index that an interrupted migration leaves is invalid, and is built anew.
Statistics tell the planner how rare a reason is: without them it reads the whole table for a common one.
"""

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

INDEX = "ix_runs_reason"
STATISTICS = "runs_reason"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {INDEX}")
        op.execute(
            f"""
            CREATE INDEX CONCURRENTLY {INDEX}
            ON runs (organization_id, (status_detail ->> 'reason'), created_at, id)
            WHERE (status_detail ->> 'reason') <> 'Completed'
            """
        )
        op.execute(f"CREATE STATISTICS IF NOT EXISTS {STATISTICS} ON (status_detail ->> 'reason') FROM runs")
        op.execute("ANALYZE runs (status_detail)")


def downgrade() -> None:
    op.execute(f"DROP STATISTICS {STATISTICS}")
    op.drop_index(INDEX, table_name="runs")

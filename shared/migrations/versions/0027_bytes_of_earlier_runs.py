"""Tallies have the bytes of the runs that had ended before they had any.

Nobody waits: one statement sees runs and tallies at one moment, and adds what the tallies lack then. Who ends
a run meanwhile adds to the tallies.
"""

from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

COUNT = """
INSERT INTO run_tallies (organization_id, subject_id, status, runs, bytes)
SELECT organization_id, subject_id, status, 0, sum(bytes)
FROM (
    SELECT organization_id, subject_id, status, stored_bytes AS bytes FROM runs WHERE completed_at IS NOT NULL
    UNION ALL
    SELECT organization_id, subject_id, status, -bytes FROM run_tallies
) AS known
GROUP BY organization_id, subject_id, status HAVING sum(bytes) <> 0
"""


def upgrade() -> None:
    op.execute(COUNT)


def downgrade() -> None:
    """Nothing: the migration before this one takes the bytes away."""

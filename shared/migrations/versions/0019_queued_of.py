"""An index of the queued runs by organization: each may have so many.

Plain CREATE INDEX: few runs are queued, but all are looked at once, some seconds for a million.
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_runs_queued_of", "runs", ["organization_id"], postgresql_where=sa.text("status = 'QUEUED'")
    )


def downgrade() -> None:
    op.drop_index("ix_runs_queued_of", "runs")

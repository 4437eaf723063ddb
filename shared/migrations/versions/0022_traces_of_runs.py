"""The place of a run in a trace: a W3C traceparent.

Runs from before have none; their own ids are the ids of their traces. A nullable column without a default:
the table is not rewritten.
"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("traceparent", sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column("runs", "traceparent")

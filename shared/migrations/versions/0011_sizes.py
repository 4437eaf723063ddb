"""How large events are, and how much each run has stored: read before anything large is."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("run_events", sa.Column("size", sa.Integer(), nullable=True))
    op.add_column("runs", sa.Column("stored_bytes", sa.BigInteger(), server_default="0", nullable=False))


def downgrade() -> None:
    op.drop_column("runs", "stored_bytes")
    op.drop_column("run_events", "size")

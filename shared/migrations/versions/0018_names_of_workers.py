"""Which process has a run, beside the worker's name, and who holds that name."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("process", sa.String(), nullable=True))
    op.add_column("process_beats", sa.Column("holder", sa.Uuid(), nullable=True))
    op.add_column("process_beats", sa.Column("process", sa.String(), nullable=True))
    op.add_column("process_beats", sa.Column("taken_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("process_beats", "taken_at")
    op.drop_column("process_beats", "process")
    op.drop_column("process_beats", "holder")
    op.drop_column("runs", "process")

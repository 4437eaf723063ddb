"""Which processes of an installation go on, so that one that has fallen silent can be told."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "process_beats",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("beat_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("kind IN ('worker', 'reconciler')", name=op.f("ck_process_beats_kind")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_process_beats")),
    )


def downgrade() -> None:
    op.drop_table("process_beats")

"""What callers note of assistants, lists of assistants and threads by what is noted, and slots of workers.

Threads have had metadata all along: what a list can go by is stored for those that exist.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

NOTE_THREADS = """
    INSERT INTO thread_metadata (thread_id, key, value, organization_id, created_at)
    SELECT threads.id, pair.key, pair.value, threads.organization_id, threads.created_at
    FROM threads CROSS JOIN LATERAL (
        SELECT key, value #>> '{}' AS value
        FROM jsonb_each(threads.metadata)
        WHERE length(key) BETWEEN 1 AND 64 AND jsonb_typeof(value) = 'string'
            AND length(value #>> '{}') <= 512
        ORDER BY key COLLATE "C" LIMIT 16
    ) AS pair
"""


def upgrade() -> None:
    op.add_column(
        "assistants",
        sa.Column("metadata", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
    )
    _table("assistant")
    _table("thread")
    op.execute(NOTE_THREADS)
    for name in ("slots", "busy"):
        op.add_column("process_beats", sa.Column(name, sa.Integer(), nullable=True))


def downgrade() -> None:
    for name in ("busy", "slots"):
        op.drop_column("process_beats", name)
    op.drop_table("thread_metadata")
    op.drop_table("assistant_metadata")
    op.drop_column("assistants", "metadata")


def _table(owner: str) -> None:
    name = f"{owner}_metadata"
    op.create_table(
        name,
        sa.Column(f"{owner}_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            [f"{owner}_id"], [f"{owner}s.id"], name=op.f(f"fk_{name}_{owner}_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint(f"{owner}_id", "key", name=op.f(f"pk_{name}")),
    )
    op.create_index(
        f"ix_{name}_page",
        name,
        ["organization_id", "key", "value", sa.literal_column("created_at DESC"), f"{owner}_id"],
        unique=False,
    )

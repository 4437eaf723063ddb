"""A secret of the installation, by which its processes know what was published by one of them."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    table = op.create_table(
        "installation",
        sa.Column("is_only", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("channel_secret", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("is_only", name=op.f("ck_installation_is_only")),
        sa.PrimaryKeyConstraint("is_only", name=op.f("pk_installation")),
    )
    op.bulk_insert(table, [{"is_only": True, "channel_secret": secrets.token_bytes(32)}])


def downgrade() -> None:
    op.drop_table("installation")

"""What a key may do: read, run, or everything; keys of earlier releases keep doing everything."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("scope", sa.String(length=5), server_default="admin", nullable=False))
    op.create_check_constraint(op.f("ck_api_keys_scope"), "api_keys", "scope IN ('read', 'run', 'admin')")


def downgrade() -> None:
    op.drop_constraint(op.f("ck_api_keys_scope"), "api_keys")
    op.drop_column("api_keys", "scope")

"""An index of the queued runs by organization, which may have so many; and to which tenant each belongs.

Plain CREATE INDEX: few runs are queued, but all are looked at once, some seconds for a million.
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


TENANTS = """
UPDATE organizations SET tenant_id = api_keys.organization_id
FROM api_keys WHERE api_keys.id = organizations.created_by_key
"""
"""As far as it can still be told: a key that made some may be deleted since."""


def upgrade() -> None:
    op.add_column("organizations", sa.Column("tenant_id", sa.Uuid(), nullable=True))
    op.execute(TENANTS)
    op.create_index(
        "ix_organizations_tenant",
        "organizations",
        ["tenant_id"],
        postgresql_where=sa.text("tenant_id IS NOT NULL"),
    )
    op.create_index(
        "ix_runs_queued_of", "runs", ["organization_id"], postgresql_where=sa.text("status = 'QUEUED'")
    )


def downgrade() -> None:
    op.drop_index("ix_runs_queued_of", "runs")
    op.drop_index("ix_organizations_tenant", "organizations")
    op.drop_column("organizations", "tenant_id")

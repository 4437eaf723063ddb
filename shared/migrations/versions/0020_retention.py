"""For how long an organization keeps its runs and threads, where the operator says so."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

CONDITION = "retention_runs >= interval '0' AND retention_threads >= interval '0'"


def upgrade() -> None:
    for name in ("retention_runs", "retention_threads"):
        op.add_column("organizations", sa.Column(name, sa.Interval(), nullable=True))
    op.create_check_constraint(op.f("ck_organizations_retention"), "organizations", CONDITION)


def downgrade() -> None:
    op.drop_constraint(op.f("ck_organizations_retention"), "organizations")
    for name in ("retention_threads", "retention_runs"):
        op.drop_column("organizations", name)

"""Roles of members, who made an organization, what a run's key may do, and keys with a checksum."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0007"
branch_labels = None
depends_on = None

OWNERS = """
    UPDATE memberships SET role = 'owner' FROM organizations
    WHERE organizations.id = memberships.organization_id
      AND (organizations.created_by IS NULL OR organizations.created_by = memberships.user_id
        OR NOT EXISTS (SELECT FROM memberships AS maker
                       WHERE maker.organization_id = organizations.id AND maker.user_id = organizations.created_by))
"""
"""Who made an organization owns it; one that was made at the command line, or left by its maker, all members own."""


def upgrade() -> None:
    op.add_column(
        "memberships", sa.Column("role", sa.String(length=6), server_default="member", nullable=False)
    )
    op.create_check_constraint(op.f("ck_memberships_role"), "memberships", "role IN ('owner', 'member')")
    op.execute(OWNERS)
    op.add_column("organizations", sa.Column("created_by_key", sa.Uuid(), nullable=True))
    op.add_column(
        "organizations", sa.Column("is_operators", sa.Boolean(), server_default="false", nullable=False)
    )
    op.execute("UPDATE organizations SET is_operators = true WHERE created_by IS NULL")
    op.add_column(
        "structures", sa.Column("run_scope", sa.String(length=4), server_default="own", nullable=False)
    )
    op.create_check_constraint(op.f("ck_structures_run_scope"), "structures", "run_scope IN ('own', 'runs')")
    op.add_column("api_keys", sa.Column("has_checksum", sa.Boolean(), server_default="false", nullable=False))


def downgrade() -> None:
    op.drop_column("api_keys", "has_checksum")
    op.drop_constraint(op.f("ck_structures_run_scope"), "structures")
    op.drop_column("structures", "run_scope")
    op.drop_column("organizations", "is_operators")
    op.drop_column("organizations", "created_by_key")
    op.drop_constraint(op.f("ck_memberships_role"), "memberships")
    op.drop_column("memberships", "role")

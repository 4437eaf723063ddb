"""Tallies have the bytes of the runs that have ended, so that a quota needs no look at each run.

Writers of runs wait for a moment. The next migration counts what is there.
"""

import re

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

_BRACES = re.compile(r"\{([^{}]*)\}")

ADD = """
    CREATE OR REPLACE FUNCTION add_to_run_tally(
        organization uuid, subject uuid, ended_as text, change bigint{, more bigint}
    ) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        UPDATE run_tallies SET runs = runs + change{, bytes = bytes + more} WHERE id = (
            SELECT id FROM run_tallies
            WHERE organization_id = organization AND subject_id = subject AND status = ended_as
            LIMIT 1 FOR UPDATE SKIP LOCKED
        );
        IF NOT FOUND THEN  -- and nothing if the owner is being deleted, and its tallies with it
            INSERT INTO run_tallies (organization_id, subject_id, status, runs{, bytes})
            SELECT organization, subject, ended_as, change{, more} FROM organizations WHERE id = organization;
        END IF;
    END $$
"""
CALLERS = (
    """
    CREATE OR REPLACE FUNCTION tally_runs() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM add_to_run_tally(
            organization_id, subject_id, status, count(*) * TG_ARGV[0]::bigint
            {, (sum(stored_bytes) * TG_ARGV[0]::bigint)::bigint}
        )
        FROM changed WHERE completed_at IS NOT NULL
        GROUP BY organization_id, subject_id, status;
        RETURN NULL;
    END $$
    """,
    """
    CREATE OR REPLACE FUNCTION tally_run() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF OLD.completed_at IS NOT NULL THEN
            PERFORM add_to_run_tally(
                OLD.organization_id, OLD.subject_id, OLD.status, -1{, -OLD.stored_bytes}
            );
        END IF;
        IF NEW.completed_at IS NOT NULL THEN
            PERFORM add_to_run_tally(
                NEW.organization_id, NEW.subject_id, NEW.status, 1{, NEW.stored_bytes}
            );
        END IF;
        RETURN NULL;
    END $$
    """,
)
TALLY_BYTES = """
    CREATE FUNCTION tally_bytes() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM add_to_run_tally(
            NEW.organization_id, NEW.subject_id, NEW.status, 0, NEW.stored_bytes - OLD.stored_bytes
        );
        RETURN NULL;
    END $$
"""
# What is added to a run that goes on is counted with its end.
GROWN = """
    CREATE TRIGGER tally_grown AFTER UPDATE OF stored_bytes ON runs FOR EACH ROW
    WHEN (OLD.completed_at IS NOT NULL AND OLD.status = NEW.status AND OLD.stored_bytes <> NEW.stored_bytes)
    EXECUTE FUNCTION tally_bytes()
"""


def upgrade() -> None:
    op.execute(TALLY_BYTES)
    op.execute(GROWN)  # locks the runs first, as those do who end some: then no tally is being written
    op.add_column("run_tallies", sa.Column("bytes", sa.BigInteger(), server_default="0", nullable=False))
    _replace(has_bytes=True)
    op.execute("DROP FUNCTION add_to_run_tally(uuid, uuid, text, bigint)")


def downgrade() -> None:
    op.execute("DROP TRIGGER tally_grown ON runs")
    op.execute("DROP FUNCTION tally_bytes")
    _replace(has_bytes=False)
    op.execute("DROP FUNCTION add_to_run_tally(uuid, uuid, text, bigint, bigint)")
    op.execute("DELETE FROM run_tallies WHERE runs = 0")
    op.drop_column("run_tallies", "bytes")


def _replace(*, has_bytes: bool) -> None:
    """Make the functions anew; what stands in braces is about bytes."""
    for statement in (ADD, *CALLERS):
        op.execute(_BRACES.sub(r"\1" if has_bytes else "", statement))

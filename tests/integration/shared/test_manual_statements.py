"""The statements of docs/operating/, which an operator gives to psql, against a real PostgreSQL."""

import re

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests.support.checkout import ROOT

LATER = ("runyard_app_3", "DROP ROLE runyard_app_2")


def statements(page):
    manual = (ROOT / "docs" / "operating" / f"{page}.md").read_text(encoding="utf-8")
    return [one for one in re.findall(r'--command="([^"]+)"', manual) if not one.startswith("\\")]


def test_the_largest_tables_are_shown_with_their_partitions(superuser_engine):
    (sizes,) = statements("disk")
    with superuser_engine.connect() as connection:
        rows = {row.table: row for row in connection.execute(text(sizes.replace("::", "\\:\\:")))}
    assert 0 < len(rows) <= 5
    assert rows["run_events"].partitions > 7
    assert not [name for name in rows if name.startswith("run_events_")]


def test_a_second_role_takes_over_from_the_first_whose_login_ends(superuser_engine):
    create, end = statements("rotation")
    with superuser_engine.connect() as connection:  # and no commit: roles are those of the whole server
        for statement in (create, end):
            connection.execute(text(statement))
        can_login = dict(
            connection.execute(
                text("SELECT rolname, rolcanlogin FROM pg_roles WHERE rolname LIKE 'runyard_app%'")
            ).all()
        )
        assert can_login == {"runyard_app": False, "runyard_app_2": True}
        connection.execute(text("SET LOCAL ROLE runyard_app_2"))
        connection.execute(text("DELETE FROM runs"))
        assert connection.scalar(text("SELECT count(*) FROM runs")) == 0
        assert connection.scalar(
            text("SELECT has_database_privilege(current_user, current_database(), 'CONNECT')")
        )
        connection.execute(text("RESET ROLE"))
        with pytest.raises(DBAPIError) as refusal, connection.begin_nested():
            connection.execute(text("DROP ROLE runyard_app"))
        assert isinstance(refusal.value.orig, psycopg.errors.DependentObjectsStillExist)
        for later in LATER:
            assert later in (ROOT / "docs" / "operating" / "rotation.md").read_text(encoding="utf-8")
        connection.execute(text("DROP ROLE runyard_app_2"))
        connection.rollback()

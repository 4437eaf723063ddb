"""Whether a database has the schema a release needs."""

from sqlalchemy import text

from shared.migrations.upgrade import is_current


def set_revision(engine, revision):
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :new"), {"new": revision})


def test_a_migrated_database_is_current(committed_engine):
    assert is_current(committed_engine)


def test_an_older_database_is_not(committed_engine):
    set_revision(committed_engine, "0001")
    assert not is_current(committed_engine)


def test_a_newer_release_s_database_is_as_good_to_the_one_before(committed_engine):
    set_revision(committed_engine, "9999")
    assert is_current(committed_engine)


def test_an_empty_database_is_not(committed_engine, superuser_engine):
    with superuser_engine.begin() as connection:
        connection.execute(text("DROP TABLE alembic_version"))
    assert not is_current(committed_engine)

"""Whether a database has the schema a release needs."""

import pytest
from alembic import command
from sqlalchemy import text

from shared.db import make_engine, make_sessions
from shared.events import log
from shared.lifecycle import RunStatus
from shared.migrations import upgrade
from shared.migrations.schema import is_current
from tests.support.dispatching import RecordingDispatcher
from tests.support.factories import Factories


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


@pytest.fixture
def migrate(services, committed_settings):
    """Bring the test's own database to a revision, as its owner."""
    name = committed_settings.database_url.get_secret_value().rpartition("/")[2]
    settings = services.settings(database_url=services.postgres.migration_url_of(name))

    def migrate(revision, *, back=True):
        move = command.downgrade if back and revision != "head" else command.upgrade
        move(upgrade._config(settings), revision)

    return migrate


def test_events_stay_where_they_are_when_days_come_and_go(migrate, committed_sessions, committed_settings):
    """What was stored before, and what the release before stores after; and back."""
    factories = Factories(committed_sessions, RecordingDispatcher())
    run = factories.run(status=RunStatus.SUCCEEDED)
    with committed_sessions() as session:
        before = log.read(session, run.id, start=0, limit=100).events
    assert len(before) > 3

    def stored():
        engine = make_engine(committed_settings)  # whose connections know nothing of the table as it was
        with make_sessions(engine)() as session:
            rows = session.execute(
                text("SELECT seq, event_id, tableoid::regclass::text FROM run_events ORDER BY seq")
            ).all()
        engine.dispose()
        assert [(row.seq, row.event_id) for row in rows] == [(one.seq, one.event_id) for one in before]
        return {row[2] for row in rows}

    migrate("0020")
    assert stored() == {"run_events"}
    migrate("head")
    assert stored() == {"run_events_earlier"}
    engine = make_engine(committed_settings)
    with make_sessions(engine)() as session:
        assert log.read(session, run.id, start=0, limit=100).events == before
        session.execute(text("DELETE FROM runs WHERE id = :id"), {"id": run.id})
        session.commit()
        assert session.scalar(text("SELECT count(*) FROM run_events")) == 0
    new = Factories(make_sessions(engine), RecordingDispatcher()).run(status=RunStatus.SUCCEEDED)
    with make_sessions(engine)() as session:
        found = session.scalars(text("SELECT DISTINCT tableoid::regclass::text FROM run_events")).all()
        assert found == [f"run_events_{new.created_at:%Y%m%d}"]
    engine.dispose()


def test_an_index_that_an_interrupted_migration_has_left_is_built_anew(migrate, committed_engine, services):
    migrate("0023")
    name = committed_engine.url.database
    owner = make_engine(services.settings(database_url=services.postgres.migration_url_of(name)))
    with owner.begin() as connection:
        connection.execute(text("CREATE INDEX ix_runs_reason ON runs (id)"))
    owner.dispose()
    migrate("head")
    with committed_engine.connect() as connection:
        built = connection.scalar(text("SELECT pg_get_indexdef('ix_runs_reason'::regclass)"))
    assert "reason" in built


def test_the_bytes_of_runs_that_ended_before_are_tallied_and_no_byte_twice(
    migrate, committed_engine, committed_sessions
):
    factories = Factories(committed_sessions, RecordingDispatcher())
    before = [factories.run(status=status) for status in (RunStatus.SUCCEEDED, RunStatus.FAILED)]
    migrate("0025")
    migrate("0026", back=False)
    after = factories.run(status=RunStatus.SUCCEEDED)  # by a process that the migrations do not stop
    factories.run(status=RunStatus.RUNNING)
    with committed_engine.begin() as connection:
        grown = text("UPDATE runs SET stored_bytes = stored_bytes + 7 WHERE id = :id")
        connection.execute(grown, {"id": before[0].id})
    migrate("head")
    tallied = text("SELECT status, sum(runs), sum(bytes) FROM run_tallies GROUP BY status ORDER BY status")
    with committed_engine.connect() as connection:
        assert [tuple(row) for row in connection.execute(tallied)] == [
            ("FAILED", 1, before[1].stored_bytes),
            ("SUCCEEDED", 2, before[0].stored_bytes + 7 + after.stored_bytes),
        ]

"""The partitions of events: by the day of their run, made ahead, dropped whole."""

import re
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import event, func, select, text, update
from sqlalchemy.exc import IntegrityError, ProgrammingError

from shared.db import unit_of_work
from shared.errors import EventNotFoundError
from shared.events import log
from shared.events.ids import new_event_id
from shared.events.log import NewEvent
from shared.lifecycle import RunStatus
from shared.models import EARLIER_DAY, Origin, Run, RunEvent
from shared.retention import purge
from shared.retention.policy import Policy
from worker.reconciler.purger import Purger

ONE_DAY = timedelta(days=1)
MONTH = Policy(30 * ONE_DAY, None)
TABLE_OF = text("SELECT DISTINCT tableoid::regclass::text FROM run_events WHERE run_id = :id ORDER BY 1")


@pytest.fixture
def today(sessions):
    with sessions() as session:
        return session.scalar(select(func.now())).astimezone(UTC).date()


def name_of(day):
    return f"run_events_{day:%Y%m%d}"


@pytest.fixture
def tables_of(sessions):
    """The partitions that have events of a run."""

    def tables_of(run):
        with sessions() as session:
            return session.scalars(TABLE_OF, {"id": run.id}).all()

    return tables_of


@pytest.fixture
def days(sessions):
    """The names of all partitions."""

    def days():
        with sessions() as session:
            query = text(
                "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent='run_events'::regclass"
            )
            return set(session.scalars(query))

    return days


@pytest.fixture
def put_back(sessions):
    """Put a run back by some days, with its events where they would be."""

    def put_back(run, by):
        past = timedelta(days=by)
        with unit_of_work(sessions) as session:
            instants = (Run.created_at, Run.queued_at, Run.started_at, Run.completed_at)
            session.execute(update(Run).where(Run.id == run.id).values({one: one - past for one in instants}))
            session.execute(
                update(RunEvent).where(RunEvent.run_id == run.id).values(run_day=RunEvent.run_day - by)
            )
        return run

    return put_back


def texts(*words):
    return [NewEvent(Origin.ASSISTANT, "TextChunkEvent", {"token": word}) for word in words]


@pytest.mark.parametrize("by", [0, 3, 40])
def test_a_runs_events_are_where_its_day_is_and_read_from_there(make_run, put_back, tables_of, sessions, by):
    run = put_back(make_run(status=RunStatus.RUNNING), by)
    with unit_of_work(sessions) as session:
        stored = log.append(session, run.id, texts("a", "b"), attempt=1)
    day = name_of(run.created_at.astimezone(UTC).date() - timedelta(days=by))
    assert tables_of(run) == [day if by == 0 else "run_events_other"]
    with sessions() as session:
        page = log.read(session, run.id, start=0, limit=100)
        assert [event.seq for event in page.events] == list(range(page.total))
        assert log.read(session, run.id, start=page.total - 2, limit=1).events == stored[:1]
        assert log.find_stored(session, run.id, []) == []
        assert log.of_types(session, [run.id], ["TextChunkEvent"]) == stored
        found, _ = log.get_event(session, stored[1].event_id, organization_id=run.organization_id)
        assert found == stored[1]


def test_events_of_the_release_before_are_found_where_it_stores_them(make_run, sessions, tables_of, today):
    """It knows no days. Each release reads what the other writes, in one run, too."""
    run = make_run(status=RunStatus.RUNNING)
    earlier = text(
        "INSERT INTO run_events (run_id, seq, event_id, origin, type, payload, timestamp)"
        " VALUES (:run_id, :seq, :event_id, 'ASSISTANT', 'TextChunkEvent', '{}', 1)"
    )
    with unit_of_work(sessions) as session:
        values = {"run_id": run.id, "seq": run.event_count, "event_id": uuid.uuid4()}
        session.execute(earlier, values)
        session.execute(update(Run).where(Run.id == run.id).values(event_count=Run.event_count + 1))
        log.append(session, run.id, texts("later"), attempt=1)
    assert tables_of(run) == [name_of(today), "run_events_earlier"]
    with sessions() as session:
        page = log.read(session, run.id, start=0, limit=100)
        assert [event.seq for event in page.events] == list(range(page.total))
        found, _ = log.get_event(session, values["event_id"], organization_id=run.organization_id)
        assert found.seq == values["seq"]
        assert session.scalar(select(RunEvent.run_day).where(RunEvent.event_id == values["event_id"])) == (
            EARLIER_DAY
        )
    with unit_of_work(sessions) as session:
        session.execute(text("DELETE FROM runs WHERE id = :id"), {"id": run.id})
    assert tables_of(run) == []


@pytest.mark.parametrize(
    ("seq", "type_", "origin"),
    [
        (0, "TextChunkEvent", "ASSISTANT"),
        (99, "AssistantRunCompleted", "SYSTEM"),
        (99, "FinishStructureRunEvent", "ASSISTANT"),
    ],
)
def test_no_number_and_no_end_is_there_twice(make_run, sessions, today, seq, type_, origin):
    run = make_run(status=RunStatus.SUCCEEDED)
    again = text(
        "INSERT INTO run_events (run_id, seq, event_id, origin, type, payload, timestamp, run_day)"
        " VALUES (:run_id, :seq, gen_random_uuid(), :origin, :type, '{}', 1, :day)"
    )
    values = {"run_id": run.id, "seq": seq, "type": type_, "origin": origin, "day": today}
    with pytest.raises(IntegrityError), unit_of_work(sessions) as session:
        session.execute(again, values)


def test_partitions_are_made_ahead_and_take_over_what_the_net_has_caught(
    committed_sessions, factories, dispatcher
):
    run = factories.run(status=RunStatus.SUCCEEDED)
    purge.make_days(committed_sessions)  # the database may be of the day before
    with unit_of_work(committed_sessions) as session:
        day = run.created_at.astimezone(UTC).date()
        session.execute(update(RunEvent).values(run_day=RunEvent.run_day + 30))
    with committed_sessions() as session:
        assert session.scalars(TABLE_OF, {"id": run.id}).all() == ["run_events_other"]
    assert purge.make_days(committed_sessions) == 1
    assert purge.make_days(committed_sessions) == 0
    with committed_sessions() as session:
        assert session.scalars(TABLE_OF, {"id": run.id}).all() == [name_of(day + timedelta(days=30))]
        ahead = [name_of(day + number * ONE_DAY) for number in range(purge.DAYS_AHEAD + 1)]
        there = session.scalars(text("SELECT relname FROM pg_class WHERE relname LIKE 'run_events_2%'")).all()
        assert set(ahead) <= set(there)


def test_every_partition_has_the_same_indexes(sessions, days):
    query = text(
        "SELECT regexp_replace(indexdef, '^.* USING ', '') FROM pg_indexes WHERE tablename = :name ORDER BY 1"
    )
    with sessions() as session:
        found = {name: tuple(session.scalars(query, {"name": name})) for name in days()}
    assert len(found) > 9
    assert len(set(found.values())) == 1, found
    assert len(next(iter(found.values()))) == 4


def old_day(put_back, make_run, sessions, count=2, by=40):
    """Runs of one day that is over, in a partition of its own."""
    runs = [put_back(make_run(status=RunStatus.SUCCEEDED), by) for _ in range(count)]
    purge.make_days(sessions)
    return runs, name_of(runs[0].created_at.astimezone(UTC).date() - timedelta(days=by))


def test_a_day_whose_runs_are_all_due_is_dropped_at_once(put_back, make_run, sessions, days, tables_of):
    runs, name = old_day(put_back, make_run, sessions)
    assert name in days()
    with sessions() as session:
        assert purge.count(session, MONTH).days == 1
    done = Purger(MONTH, sessions).purge(threading.Event())
    assert (done.runs, done.days) == (len(runs), 1)
    assert name not in days()
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(RunEvent)) == 0


@pytest.mark.parametrize("kept", ["active", "recent end", "keeps"])
def test_a_day_of_which_a_run_is_kept_stays_without_the_others(
    put_back, make_run, factories, sessions, days, tables_of, kept
):
    runs, name = old_day(put_back, make_run, sessions)
    stays = runs[0]
    with unit_of_work(sessions) as session:
        match kept:
            case "active":
                stays = put_back(make_run(status=RunStatus.QUEUED), 40)
            case "recent end":
                session.execute(update(Run).where(Run.id == stays.id).values(completed_at=func.now()))
            case "keeps":
                stays = put_back(factories.run(factories.principal(), status=RunStatus.SUCCEEDED), 40)
                session.execute(
                    text("UPDATE organizations SET retention_runs = '0' WHERE id = :id"),
                    {"id": stays.organization_id},
                )
    done = Purger(MONTH, sessions).purge(threading.Event())
    assert (done.runs, done.days) == (1 if kept == "recent end" else 2, 0)
    assert name in days()
    assert tables_of(stays) == [name]
    assert tables_of(runs[1]) == []


def test_a_day_that_stays_holds_up_no_other(put_back, make_run, sessions, days):
    first = old_day(put_back, make_run, sessions, by=50)[1]
    second = old_day(put_back, make_run, sessions, by=45)[1]
    third = old_day(put_back, make_run, sessions, by=40)[1]
    with unit_of_work(sessions) as session:
        old = session.scalars(select(Run.id).order_by(Run.created_at).offset(2).limit(1)).one()
        session.execute(update(Run).where(Run.id == old).values(completed_at=func.now()))
    assert Purger(MONTH, sessions).purge(threading.Event()).days == 2
    assert {first, second, third} & days() == {second}


def test_the_application_can_neither_drop_a_day_that_is_used_nor_anything_else(
    put_back, make_run, sessions, days, today
):
    _, name = old_day(put_back, make_run, sessions)
    used = datetime.strptime(name, "run_events_%Y%m%d").replace(tzinfo=UTC).date()
    for day in (used, today, today - ONE_DAY, today + ONE_DAY, EARLIER_DAY, date(1999, 1, 1)):
        with unit_of_work(sessions) as session:
            assert session.scalar(select(func.drop_day_of_run_events(day))) is False
    assert name in days()
    with pytest.raises(ProgrammingError, match="must be owner"), unit_of_work(sessions) as session:
        session.execute(text(f"DROP TABLE {name}"))


def test_a_page_is_planned_for_the_partitions_of_its_run_alone(make_run, sessions):
    run = make_run(status=RunStatus.SUCCEEDED)
    query = select(RunEvent.seq).where(log.is_of(run.id, created_at=run.created_at), RunEvent.seq >= 0)
    with sessions() as session:
        compiled = query.compile(session.get_bind(), compile_kwargs={"literal_binds": True})
        plan = session.execute(text(f"EXPLAIN {compiled}")).scalars().all()
    assert set(re.findall(r"run_events_(?:\d{8}|other)\b", "\n".join(plan))) == {
        name_of(run.created_at.astimezone(UTC))
    }


@pytest.fixture
def looks_for(sessions):
    """The partitions of days that each statement of a search for an event is planned for."""

    def looks_for(event_id, organization_id):
        statements = []

        def note(_connection, _cursor, statement, parameters, *_):
            statements.append((statement, parameters))

        with sessions() as session:
            connection = session.connection()
            event.listen(connection, "before_cursor_execute", note)
            try:
                log.get_event(session, event_id, organization_id=organization_id)
            except EventNotFoundError:
                statements.append(None)
            event.remove(connection, "before_cursor_execute", note)
            plans = [
                "\n".join(connection.exec_driver_sql(f"EXPLAIN {one[0]}", one[1]).scalars())
                for one in statements
                if one is not None
            ]
        return [set(re.findall(r"run_events_(?:\d{8}|other)\b", plan)) for plan in plans], statements[
            -1
        ] is not None

    return looks_for


def test_an_event_is_looked_for_on_the_days_around_its_id(make_run, put_back, sessions, looks_for, days):
    """Its id says when it was made; a run that was created long before is found all the same."""
    run = make_run(status=RunStatus.RUNNING)
    with unit_of_work(sessions) as session:
        (stored,) = log.append(session, run.id, texts("a"), attempt=1)
    of_days = days() - {"run_events_earlier"}
    created = run.created_at.astimezone(UTC).date()
    around = {name_of(created + number * ONE_DAY) for number in (-1, 0, 1)}
    if not around <= of_days:  # the database is of today
        around = around & of_days | {"run_events_other"}
    assert looks_for(stored.event_id, run.organization_id) == ([around], True)
    put_back(run, 40)
    assert looks_for(stored.event_id, run.organization_id) == ([around, of_days], True)
    for unknown in (uuid.uuid4(), uuid.UUID("ffffffff-ffff-7fff-bfff-ffffffffffff")):
        assert looks_for(unknown, run.organization_id) == ([of_days], False)
    assert looks_for(new_event_id(), run.organization_id) == ([around, of_days], False)


def test_two_reconcilers_make_days_at_once(committed_sessions, factories, superuser_engine):
    """Whoever comes second finds it done."""
    day = factories.run(status=RunStatus.SUCCEEDED).created_at.astimezone(UTC).date()
    purge.make_days(committed_sessions)  # the database may be of the day before
    with superuser_engine.begin() as connection:
        for number in range(1, purge.DAYS_AHEAD + 1):
            connection.execute(text(f"DROP TABLE {name_of(day + number * ONE_DAY)}"))
        connection.execute(text("DELETE FROM runs"))
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(purge.make_days, [committed_sessions] * 2))
        assert sorted(made) == [0, purge.DAYS_AHEAD]

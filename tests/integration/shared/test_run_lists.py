"""Lists of runs: pages from either end, and totals that stay exact whoever ends runs at once."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import delete, func, select, text, update

from shared.db import unit_of_work
from shared.lifecycle import TERMINAL, RunStatus, Trigger
from shared.models import Organization, Run, RunTally
from shared.rows.paging import Part
from shared.runs import lists, transitions
from shared.runs.lists import RunFilter, RunList

STATUSES = list(RunStatus)
RACERS = 8
RUNS_EACH = 5


def listed_of(assistant):
    return RunList(assistant.organization_id, subject_id=assistant.id)


def page(sessions, assistant, *, statuses=(), offset=0, limit=100):
    wanted = RunFilter(statuses=frozenset(statuses) or None)
    with unit_of_work(sessions) as session:
        return lists.page(session, listed_of(assistant), Part(limit=limit, offset=offset), wanted)


def totals(sessions, assistant):
    """What lists say, by status."""
    return {status: page(sessions, assistant, statuses=[status]).total for status in STATUSES}


def counts(sessions, assistant):
    """What the rows themselves say, by status."""
    query = select(Run.status, func.count()).where(Run.assistant_id == assistant.id).group_by(Run.status)
    with unit_of_work(sessions) as session:
        return {**dict.fromkeys(STATUSES, 0), **dict(session.execute(query).all())}


@pytest.fixture
def assistant(make_assistant, make_run):
    """An assistant with three runs in each status; another one has runs, too."""
    assistant = make_assistant()
    for status in STATUSES * 3:
        make_run(assistant=assistant, status=status)
    make_run(status=RunStatus.SUCCEEDED)
    return assistant


@pytest.mark.parametrize("limit", [1, 4, 7, 100])
def test_an_organizations_list_is_the_same_from_either_end(
    sessions, assistant, make_assistant, make_run, limit
):
    """Oldest first, over all of its assistants."""
    other = make_assistant()
    for _ in range(4):
        make_run(assistant=other, status=RunStatus.CANCELLED)

    def page(offset, limit):
        listed = RunList(assistant.organization_id, is_oldest_first=True)
        with unit_of_work(sessions) as session:
            return lists.page(session, listed, Part(limit=limit, offset=offset))

    whole = page(0, 1000)
    ids = [run.id for run in whole.rows]
    assert whole.total == len(ids) == len(set(ids)) == 26
    assert [(run.created_at, run.id) for run in whole.rows] == sorted(
        (run.created_at, run.id) for run in whole.rows
    )
    for offset in range(30):
        assert [run.id for run in page(offset, limit).rows] == ids[offset : offset + limit]


@pytest.mark.parametrize("limit", [1, 2, 5, 100])
@pytest.mark.parametrize("statuses", [(), (RunStatus.FAILED,), tuple(STATUSES[2:5]), tuple(STATUSES)])
def test_pages_in_a_row_are_the_whole_list_newest_first(sessions, assistant, statuses, limit):
    with unit_of_work(sessions) as session:
        query = select(Run).where(Run.assistant_id == assistant.id).order_by(Run.created_at.desc(), Run.id)
        expected = [run.id for run in session.scalars(query) if not statuses or run.status in statuses]
    found = []
    for offset in range(0, len(expected) + limit, limit):
        one = page(sessions, assistant, statuses=statuses, offset=offset, limit=limit)
        assert one.total == len(expected)
        found += [run.id for run in one.rows]
    assert found == expected


def test_another_organization_sees_neither_runs_nor_their_number(sessions, assistant, make_principal):
    with unit_of_work(sessions) as session:
        listed = RunList(make_principal().organization_id, subject_id=assistant.id)
        found = lists.page(session, listed, Part(limit=100))
    assert (found.rows, found.total) == ([], 0)


def test_totals_follow_runs_that_are_deleted_or_put_there(sessions, assistant):
    with unit_of_work(sessions) as session:
        doomed = (
            select(Run.id).where(Run.assistant_id == assistant.id, Run.status == RunStatus.FAILED).limit(2)
        )
        session.execute(delete(Run).where(Run.id.in_(doomed.scalar_subquery())))
    assert totals(sessions, assistant) == counts(sessions, assistant)
    with unit_of_work(sessions) as session:
        copied = [column.name for column in Run.__table__.columns if column.name not in {"id", "subject_id"}]
        names = ", ".join(copied)
        session.execute(text(f"INSERT INTO runs (id, {names}) SELECT gen_random_uuid(), {names} FROM runs"))
    assert totals(sessions, assistant) == counts(sessions, assistant)


def tallied_bytes(sessions):
    """What the tallies say of the bytes of ended runs, and what the rows themselves say."""
    of_rows = select(func.sum(Run.stored_bytes)).where(Run.status.in_(TERMINAL))
    with unit_of_work(sessions) as session:
        return session.scalar(select(func.sum(RunTally.bytes))), session.scalar(of_rows)


def test_bytes_follow_runs_that_end_grow_and_go(sessions, assistant, make_run):
    tallied, stored = tallied_bytes(sessions)
    assert tallied == stored > 0
    ended = make_run(assistant=assistant, status=RunStatus.SUCCEEDED)
    running = make_run(assistant=assistant, status=RunStatus.RUNNING)
    for run, change in ((ended, 1_000), (ended, -400), (running, 50)):
        with unit_of_work(sessions) as session:
            session.execute(
                update(Run).where(Run.id == run.id).values(stored_bytes=Run.stored_bytes + change)
            )
    assert tallied_bytes(sessions) == (stored + ended.stored_bytes + 600,) * 2
    with unit_of_work(sessions) as session:
        transitions.apply(session, running.id, Trigger.CANCEL)
    grown = stored + ended.stored_bytes + 600 + running.stored_bytes + 50
    assert tallied_bytes(sessions) == (grown, grown)
    with unit_of_work(sessions) as session:
        session.execute(delete(Run).where(Run.id == ended.id))
    tallied, stored = tallied_bytes(sessions)
    assert tallied == stored == grown - ended.stored_bytes - 600


def test_an_organization_goes_with_its_tallies(sessions, assistant):
    with unit_of_work(sessions) as session:
        session.execute(delete(Organization).where(Organization.id == assistant.organization_id))
        assert session.scalar(select(func.count()).select_from(RunTally)) == 0


def test_a_transition_that_is_rolled_back_counts_nothing(sessions, assistant, make_run):
    run = make_run(assistant=assistant)
    before = totals(sessions, assistant)
    with sessions() as session:
        transitions.apply(session, run.id, Trigger.CANCEL)
        session.rollback()
    assert totals(sessions, assistant) == before


def test_runs_that_end_at_once_neither_wait_for_each_other_nor_are_miscounted(
    committed_sessions, make_assistant, make_run
):
    """Every racer holds its transaction open until all have ended a run, and nothing times out."""
    assistant = make_assistant()
    runs = [[make_run(assistant=assistant) for _ in range(RUNS_EACH)] for _ in range(RACERS)]
    all_have_ended_one = threading.Barrier(RACERS, timeout=20)

    def race(own):
        for run in own:
            with unit_of_work(committed_sessions) as session:
                session.execute(text("SET LOCAL lock_timeout = '5s'"))
                transitions.apply(session, run.id, Trigger.CANCEL)
                all_have_ended_one.wait()

    with ThreadPoolExecutor(RACERS) as pool:
        list(pool.map(race, runs))
    assert totals(committed_sessions, assistant) == counts(committed_sessions, assistant)
    tallied, stored = tallied_bytes(committed_sessions)
    assert tallied == stored
    with unit_of_work(committed_sessions) as session:
        parts = session.scalars(select(RunTally.runs)).all()
    assert sum(parts) == RACERS * RUNS_EACH
    assert len(parts) <= 2 * RACERS

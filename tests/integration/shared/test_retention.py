"""What the purge deletes, and what it leaves alone."""

import threading
import uuid
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from shared.assistants import service as assistants
from shared.db import unit_of_work
from shared.errors import OrganizationNotFoundError
from shared.lifecycle import TERMINAL, RunStatus
from shared.models import (
    Assistant,
    Deployment,
    Message,
    Run,
    RunEvent,
    RunLogLine,
    RunMetadata,
    RunSpan,
    RunTally,
    Structure,
    Thread,
)
from shared.organizations import admin
from shared.retention import outlook, purge
from shared.retention.policy import Policy
from shared.retention.purge import Purged
from shared.structures import service as structures
from shared.threads import service as threads
from worker.reconciler.purger import Purger

DAY = timedelta(days=1)
OLD = 40 * DAY
MONTH = Policy(30 * DAY, 30 * DAY)
KEEPS = Policy(None, None)


@pytest.fixture
def clean(sessions):
    """Purge all there is to purge; return what was deleted, which is what was counted before."""

    def clean(policy=MONTH):
        with unit_of_work(sessions) as session:
            found = purge.count(session, policy)
        purged = Purger(policy, sessions).purge(threading.Event())
        counted = purge.Purged(**{**found.counts(), "assistants": purged.assistants})
        assert purged.runs == counted.runs
        assert (purged.events, purged.log_lines, purged.bytes) == (
            counted.events,
            counted.log_lines,
            counted.bytes,
        )
        assert (purged.threads, purged.messages) == (counted.threads, counted.messages)
        return purged

    return clean


@pytest.fixture
def age(sessions):
    """Set all of a run's instants back."""

    def age(run, by=OLD):
        columns = (Run.created_at, Run.queued_at, Run.started_at, Run.completed_at)
        values = {column: column - by for column in columns}
        day = RunEvent.run_day - by.days
        with unit_of_work(sessions) as session:
            session.execute(update(Run).where(Run.id == run.id).values(values))
            session.execute(update(RunEvent).where(RunEvent.run_id == run.id).values(run_day=day))
        return run

    return age


@pytest.fixture
def is_there(sessions):
    def is_there(row):
        with sessions() as session:
            return session.get(type(row), row.id) is not None

    return is_there


@pytest.fixture
def count(sessions):
    def count(model, *conditions):
        with sessions() as session:
            return session.scalar(select(func.count()).select_from(model).where(*conditions))

    return count


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_a_run_goes_with_all_that_is_stored_of_it(clean, age, make_run, factories, sessions, count, status):
    run = age(make_run(status=status, metadata={"ticket": "42"}))
    structure_run = age(factories.structure_run(status=status))
    with unit_of_work(sessions) as session:
        session.add(RunSpan(run_id=structure_run.id, span_id="a", span={}))
        session.add(RunLogLine(run_id=structure_run.id, seq=0, stream="stdout", text="a"))
    events = run.event_count + structure_run.event_count
    done = clean()
    assert (done.runs, done.events) == (2, events)
    assert done.bytes == run.stored_bytes + structure_run.stored_bytes
    for table in (RunEvent, RunLogLine, RunSpan, RunMetadata):
        assert count(table, table.run_id.in_([run.id, structure_run.id])) == 0
    with sessions() as session:
        assert session.scalar(select(func.coalesce(func.sum(RunTally.runs), 0))) == 0


@pytest.mark.parametrize("status", [RunStatus.QUEUED, RunStatus.STARTING, RunStatus.RUNNING])
def test_an_active_run_stays_however_old(clean, age, make_run, is_there, status):
    run = age(make_run(status=status))
    assert clean() == Purged()
    assert is_there(run)


def test_a_run_stays_for_as_long_as_its_end_is_recent(clean, age, make_run, is_there, sessions):
    run = age(make_run(status=RunStatus.SUCCEEDED))
    with unit_of_work(sessions) as session:
        session.execute(update(Run).where(Run.id == run.id).values(completed_at=func.now() - 29 * DAY))
    assert clean().runs == 0
    assert is_there(run)


def test_a_cancelled_run_stays_until_its_stop_is_known(clean, age, make_run, is_there, sessions):
    run = age(make_run(status=RunStatus.CANCELLED))
    stopping = {"is_stopping": True, "lease_expires_at": func.now() - DAY, "worker": "w"}
    with unit_of_work(sessions) as session:
        session.execute(update(Run).where(Run.id == run.id).values(stopping))
    assert clean().runs == 0
    assert is_there(run)


@pytest.mark.parametrize("status", [RunStatus.RUNNING, RunStatus.SUCCEEDED])
def test_the_end_of_a_call_stays_with_who_called_it(clean, age, make_run, factories, is_there, status):
    parent = make_run(status=status)
    child = age(factories.structure_run(parent_run_id=parent.id, status=RunStatus.SUCCEEDED))
    assert clean().runs == 0
    assert is_there(child)


def test_calls_go_after_who_called_them(clean, age, make_run, factories, is_there):
    parent = age(make_run(status=RunStatus.SUCCEEDED))
    child = age(factories.structure_run(parent_run_id=parent.id, status=RunStatus.SUCCEEDED))
    assert clean().runs == 2
    assert not is_there(child)


def test_without_a_retention_everything_stays(clean, age, make_run):
    age(make_run(status=RunStatus.SUCCEEDED))
    assert clean(KEEPS) == Purged()


@pytest.mark.parametrize(
    ("own", "policy", "goes"),
    [
        (None, MONTH, True),
        (timedelta(0), MONTH, False),
        (50 * DAY, MONTH, False),
        (35 * DAY, Policy(50 * DAY, None), True),
        (35 * DAY, KEEPS, True),
        (None, Policy(30 * DAY, None, is_order=True), True),
        (timedelta(0), Policy(30 * DAY, None, is_order=True), False),
        (50 * DAY, Policy(30 * DAY, None, is_order=True), False),
        (10 * DAY, Policy(50 * DAY, None, is_order=True), False),
        (10 * DAY, Policy(30 * DAY, None, is_order=True), True),
    ],
)
def test_an_organizations_own_retention_counts(clean, age, make_run, sessions, own, policy, goes):
    run = age(make_run(status=RunStatus.SUCCEEDED))
    with unit_of_work(sessions) as session:
        admin.set_retention(session, run.organization_id, {"retention_runs": own})
    assert clean(policy).runs == goes


def test_an_order_for_one_organization_is_for_no_other(clean, age, make_run, factories, sessions, is_there):
    mine = age(make_run(status=RunStatus.SUCCEEDED))
    theirs = age(factories.run(factories.principal(), status=RunStatus.SUCCEEDED))
    with unit_of_work(sessions) as session:
        admin.set_retention(session, mine.organization_id, {"retention_runs": timedelta(0)})
    order = Policy(30 * DAY, None, is_order=True, organization_id=mine.organization_id)
    assert clean(order).runs == 1
    assert is_there(theirs)


def test_a_batch_is_bounded_by_rows_and_takes_a_larger_run_alone(age, make_run, sessions, monkeypatch):
    monkeypatch.setattr(purge, "ROWS", 12)
    for _ in range(4):
        age(make_run(status=RunStatus.SUCCEEDED))  # 5 events each
    large = age(make_run(status=RunStatus.SUCCEEDED))
    with unit_of_work(sessions) as session:
        session.execute(update(Run).where(Run.id == large.id).values(event_count=1000))
    sizes = []
    for _, done in purge.purge(sessions, MONTH):
        sizes.append(done.runs)
        assert done.events < 1000 + 12
    assert sum(sizes) == 5
    assert max(sizes) <= 3


def test_what_somebody_has_locked_is_skipped(age, committed_sessions, factories, is_there_committed):
    runs = [factories.run(status=RunStatus.SUCCEEDED) for _ in range(2)]
    with unit_of_work(committed_sessions) as session:
        for run in runs:
            session.execute(
                update(Run)
                .where(Run.id == run.id)
                .values(created_at=Run.created_at - OLD, completed_at=Run.completed_at - OLD)
            )
    with unit_of_work(committed_sessions) as holder:
        holder.execute(select(Run).where(Run.id == runs[0].id).with_for_update())
        done = Purger(MONTH, committed_sessions).purge(threading.Event())
        assert done.runs == 1
    assert [is_there_committed(run) for run in runs] == [True, False]


@pytest.fixture
def is_there_committed(committed_sessions):
    def is_there(row):
        with committed_sessions() as session:
            return session.get(type(row), row.id) is not None

    return is_there


@pytest.fixture
def make_thread(sessions, factories):
    """A thread with messages, all of them some time ago."""

    def make_thread(messages=2, by=OLD):
        new = [threads.NewMessage(input="a", output="b")] * messages
        with unit_of_work(sessions) as session:
            thread = threads.create(session, factories.default_principal(), {"name": "talk"}, new)
            for table, key in ((Thread, Thread.id), (Message, Message.thread_id)):
                past = {"created_at": table.created_at - by, "updated_at": table.updated_at - by}
                session.execute(update(table).where(key == thread.id).values(past))
        return thread

    return make_thread


@pytest.mark.parametrize("messages", [0, 2])
def test_an_idle_thread_goes_with_its_messages_and_its_runs_stay(
    clean, age, make_thread, make_run, is_there, sessions, count, messages
):
    thread = make_thread(messages)
    run = age(make_run(status=RunStatus.SUCCEEDED, thread_id=thread.id))
    done = clean(Policy(None, 30 * DAY))
    assert (done.threads, done.messages, done.runs) == (1, messages, 0)
    assert count(Message) == 0
    with sessions() as session:
        assert session.get_one(Run, run.id).thread_id is None


@pytest.mark.parametrize("recent", ["thread", "message", "first message", "run", "active run"])
def test_a_thread_in_which_something_happens_stays(
    clean, age, make_thread, make_run, is_there, sessions, recent
):
    thread = make_thread()
    match recent:
        case "thread":
            statement = update(Thread).where(Thread.id == thread.id)
        case "message":
            statement = update(Message).where(Message.thread_id == thread.id, Message.index == 1)
        case "first message":
            statement = update(Message).where(Message.thread_id == thread.id, Message.index == 0)
        case "run":
            make_run(status=RunStatus.SUCCEEDED, thread_id=thread.id)
            statement = None
        case "active run":
            age(make_run(status=RunStatus.RUNNING, thread_id=thread.id))
            statement = None
    if statement is not None:
        with unit_of_work(sessions) as session:
            session.execute(statement.values(updated_at=func.now()))
    assert clean().threads == 0
    assert is_there(thread)


@pytest.mark.parametrize("model", [Assistant, Structure])
def test_what_its_owner_deleted_goes_when_it_has_no_runs(
    clean, age, factories, make_run, sessions, is_there, count, model
):
    if model is Assistant:
        subject, service = factories.assistant(), assistants
        run = age(make_run(assistant=subject, status=RunStatus.SUCCEEDED), 20 * DAY)
    else:
        subject, service = factories.structure(), structures
        run = age(factories.structure_run(structure=subject, status=RunStatus.SUCCEEDED), 20 * DAY)
    with unit_of_work(sessions) as session:
        service.delete(session, factories.default_principal(), subject.id)
        session.execute(update(model).where(model.id == subject.id).values(deleted_at=func.now() - OLD))
    clean()
    assert is_there(subject)
    age(run, 20 * DAY)
    done = clean()
    assert (done.assistants, done.structures) == ((1, 0) if model is Assistant else (0, 1))
    assert not is_there(subject)
    assert count(RunTally, RunTally.subject_id == subject.id) == 0
    assert count(Deployment, Deployment.structure_id == subject.id) == 0


def test_a_subject_that_is_not_deleted_stays_without_runs(clean, age, factories, sessions, is_there):
    assistant, structure = factories.assistant(), factories.structure()
    assert clean() == Purged()
    assert is_there(assistant)
    assert is_there(structure)


def test_a_replaced_deployment_goes_when_no_run_can_have_used_it(clean, age, factories, sessions, count):
    structure = factories.structure()
    with unit_of_work(sessions) as session:
        structures.deploy(session, factories.default_principal(), structure.id)
        session.execute(update(Deployment).values(created_at=func.now() - OLD))
        latest = session.get_one(Structure, structure.id).latest_deployment_id
        session.execute(
            update(Deployment).where(Deployment.id != latest).values(created_at=func.now() - 2 * OLD)
        )
    run = age(factories.structure_run(structure=structure, status=RunStatus.SUCCEEDED))
    with unit_of_work(sessions) as session:  # as one that ended late: it is kept
        session.execute(update(Run).where(Run.id == run.id).values(completed_at=func.now()))
    assert clean().deployments == 0
    age(run)
    assert clean().deployments == 1
    with sessions() as session:
        assert session.scalars(select(Deployment.id)).all() == [latest]


@pytest.fixture
def look(sessions, factories):
    def look(policy=MONTH):
        with sessions() as session:
            return outlook.outlook(session, policy, factories.default_principal().organization_id)

    return look


def test_the_outlook_of_an_organization_is_what_a_purge_takes_of_it(factories, age, look, clean):
    for run in (
        factories.run(status=RunStatus.SUCCEEDED),
        factories.structure_run(status=RunStatus.FAILED),
        factories.run(status=RunStatus.CANCELLED, new_thread=True),
    ):
        age(run)
    factories.run(status=RunStatus.SUCCEEDED)
    oldest = age(factories.run(status=RunStatus.RUNNING), 2 * OLD)
    other = factories.principal()
    age(factories.run(principal=other, assistant=factories.assistant(other), status=RunStatus.SUCCEEDED))
    seen = look()
    assert (seen.due_runs, seen.has_more_runs, seen.has_more_threads) == (3, False, False)
    assert (seen.oldest.id, seen.oldest.is_due, seen.oldest.completed_at) == (oldest.id, False, None)
    purged = clean()
    assert purged.runs == seen.due_runs + 1  # that of the other organization
    assert purged.events > seen.due_events > 0
    assert look().due_runs == 0


def test_the_outlook_goes_by_the_organization_s_own_retention(factories, sessions, age, look):
    age(factories.run(status=RunStatus.SUCCEEDED))
    organization_id = factories.default_principal().organization_id
    assert look(KEEPS).due_runs == 0
    assert look(KEEPS).runs.effective is None
    for own, due, effective in ((60 * DAY, 0, 60 * DAY), (0 * DAY, 0, None), (7 * DAY, 1, 7 * DAY)):
        with unit_of_work(sessions) as session:
            admin.set_retention(session, organization_id, {"retention_runs": own})
        assert (look().due_runs, look().runs.effective, look().oldest.is_due) == (due, effective, due == 1)


def test_the_outlook_looks_at_the_oldest_only(factories, age, look, monkeypatch):
    monkeypatch.setattr(outlook, "LOOKED_AT", 2)
    for _ in range(3):
        age(factories.run(status=RunStatus.SUCCEEDED))
    seen = look()
    assert (seen.due_runs, seen.has_more_runs) == (2, True)


def test_the_outlook_of_an_organization_that_was_deleted_meanwhile_is_refused(sessions):
    """Its keys may be remembered for a while."""
    with unit_of_work(sessions) as session, pytest.raises(OrganizationNotFoundError):
        outlook.outlook(session, MONTH, uuid.uuid4())

"""Promise 8: the workers are shared. No organization has more of them at once than its share."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from cli.doctor.stuck import examine_runs
from shared.assistants.runs import RunRequest, submit
from shared.db import unit_of_work
from shared.dispatch import shares
from shared.lifecycle import HELD, Reason, RunStatus, StatusDetail, Trigger
from shared.models import Organization, Run
from shared.runs import moves, transitions
from tests.support.dispatching import RecordingDispatcher
from tests.support.slots import FakeSlot
from tests.support.waiting import wait_until
from worker.attempt import resources as worker_resources
from worker.attempt.conclusion import Ending
from worker.attempt.execution import execute
from worker.executors.base import Succeeded
from worker.reconciler.reconciler import Reconciler

ANSWER = {"type": "TextArtifact", "id": "a", "name": "a", "meta": {}, "reference": None, "value": "hello"}
PAST = timedelta(minutes=5)


@pytest.fixture
def setting_overrides():
    return {"running_share": 2, "event_flush": timedelta(milliseconds=20)}


@pytest.fixture
def resources(committed_settings):
    made = worker_resources.make(committed_settings)
    yield made
    made.close()


@pytest.fixture
def sent(resources, monkeypatch):
    """The runs that are sent to the workers, in order."""
    sent = []
    monkeypatch.setattr(resources.dispatcher, "send", lambda run_id, **_: sent.append(run_id))
    return sent


def attempt(resources, run, executor=lambda *_: Succeeded(ANSWER)):
    return execute(resources, run.id, run.attempt + 1, FakeSlot(), resolve=lambda *_: executor)


def status_of(sessions, run):
    with sessions() as session:
        return session.get_one(Run, run.id).status


def test_a_run_beyond_the_share_waits_and_others_do_not(
    resources, committed_sessions, make_run, make_principal
):
    for status in (RunStatus.STARTING, RunStatus.RUNNING):
        make_run(status=status)
    waiting, neighbours = make_run(), make_run(make_principal())
    assert attempt(resources, waiting) is Ending.NOT_CLAIMED
    assert attempt(resources, neighbours) is Ending.SUCCEEDED
    with committed_sessions() as session:
        run = session.get_one(Run, waiting.id)
        assert (run.status, run.attempt, run.worker, run.event_count) == (RunStatus.QUEUED, 0, None, 1)


def test_the_organizations_that_a_tenant_makes_have_one_share(
    resources, committed_sessions, make_run, make_principal
):
    for status in (RunStatus.STARTING, RunStatus.RUNNING):
        make_run(status=status)
    waiting, own = make_run(), make_run(make_principal())
    with unit_of_work(committed_sessions) as session:
        made = session.get_one(Organization, own.organization_id)
        made.tenant_id = waiting.organization_id
    assert attempt(resources, own) is Ending.NOT_CLAIMED
    with unit_of_work(committed_sessions) as session:
        assert shares.waiting_organizations(session, share=2, limit=9) == []
        assert shares.take_next(session, own.organization_id, share=2) == []
        assert set(shares.waiting_organizations(session, share=4, limit=9)) == {own.organization_id}
        taken = shares.take_next(session, own.organization_id, share=4)
    assert [one.run_id for one in taken] == [own.id]


def test_claims_at_the_same_time_do_not_pass_the_share(resources, committed_sessions, make_run):
    runs = [make_run() for _ in range(8)]
    all_there, release = threading.Barrier(8), threading.Event()
    most = []

    def executor(_context, _emit):
        with committed_sessions() as session:
            held = select(func.count()).select_from(Run).where(Run.status.in_(HELD))
            most.append(session.scalar(held))
        assert release.wait(30)
        return Succeeded(ANSWER)

    def go(run):
        all_there.wait(30)
        ending = attempt(resources, run, executor)
        if ending is Ending.NOT_CLAIMED:
            refused.release()
        return ending

    refused = threading.Semaphore(0)
    with ThreadPoolExecutor(8) as pool:
        endings = [pool.submit(go, run) for run in runs]
        for _ in range(6):
            assert refused.acquire(timeout=30)
        release.set()
    ended = [ending.result() for ending in endings]
    assert sorted(ended) == sorted([Ending.SUCCEEDED] * 2 + [Ending.NOT_CLAIMED] * 6)
    assert max(most) <= 2


def send_what_there_is_room_for(resources, run):
    with unit_of_work(resources.sessions) as session:
        resources.dispatcher.enqueue_next(session, run.organization_id)


def hold_back(sessions, *runs):
    with unit_of_work(sessions) as session:
        session.execute(update(Run).where(Run.id.in_([run.id for run in runs])).values(dispatched_at=None))


@pytest.mark.parametrize("end", ["succeeds", "is cancelled", "is broken"])
def test_the_next_is_sent_when_one_ends(resources, make_run, make_principal, sent, end):
    running = [make_run(status=RunStatus.RUNNING) for _ in range(2)]
    first, second = make_run(), make_run()
    make_run(make_principal())
    hold_back(resources.sessions, first, second)
    send_what_there_is_room_for(resources, first)
    with unit_of_work(resources.sessions) as session:
        dispatcher, run_id = resources.dispatcher, running[0].id
        match end:
            case "is cancelled":
                moves.cancel(session, dispatcher, run_id, requested_by="me")
            case "succeeds":
                detail = StatusDetail(Reason.COMPLETED, "The assistant answered.")
                moves.succeed(session, dispatcher, run_id, attempt=1, detail=detail, output=ANSWER)
            case _:
                detail = StatusDetail(Reason.TIMED_OUT, "It took too long.")
                moves.break_(session, dispatcher, run_id, attempt=1, detail=detail)
    wait_until(lambda: sent == [first.id], timeout=60)
    send_what_there_is_room_for(resources, first)  # what is on its way takes room, too
    resources.dispatcher.close()
    assert sent == [first.id]


def test_only_what_there_is_room_for_is_sent_at_all(resources, committed_sessions, factories, sent):
    principal = factories.principal()
    assistant = factories.assistant(principal)
    runs = []
    for _ in range(4):
        with unit_of_work(resources.sessions) as session:
            request = RunRequest(input="Hello")
            runs.append(submit(session, resources.dispatcher, principal, assistant.id, request))
    wait_until(lambda: len(sent) >= 2, timeout=60)
    resources.dispatcher.close()
    assert sent == [run.id for run in runs[:2]]
    with committed_sessions() as session:
        waiting = select(Run.id).where(shares.is_held_back(2)).order_by(Run.created_at)
        assert session.scalars(waiting).all() == [run.id for run in runs[2:]]


def test_what_waits_for_its_thread_takes_no_room(resources, make_run, sent):
    first = make_run(status=RunStatus.RUNNING, new_thread=True)
    for _ in range(4):
        make_run(thread_id=first.thread_id)
    waiting = make_run()
    hold_back(resources.sessions, waiting)
    send_what_there_is_room_for(resources, waiting)
    wait_until(lambda: sent == [waiting.id], timeout=60)


def test_a_message_that_came_too_early_is_sent_again(resources, committed_sessions, make_run, sent):
    running = [make_run(status=RunStatus.RUNNING) for _ in range(2)]
    early = make_run()  # its message came by another way, such as the reconciler's
    assert attempt(resources, early) is Ending.NOT_CLAIMED
    with unit_of_work(resources.sessions) as session:
        moves.cancel(session, resources.dispatcher, running[0].id, requested_by="me")
    wait_until(lambda: sent == [early.id], timeout=60)


def test_all_of_an_organizations_runs_end_though_only_so_many_run_at_once(
    resources, committed_sessions, factories, monkeypatch
):
    """Whoever waits is sent when another ends: nothing is left to the reconciler."""
    principal = factories.principal()
    assistant = factories.assistant(principal)
    runs = []
    with ThreadPoolExecutor(6) as pool:

        def send(run_id, *, attempt, **_):
            pool.submit(
                execute,
                resources,
                run_id,
                attempt,
                FakeSlot(),
                resolve=lambda *_: lambda *_: Succeeded(ANSWER),
            )

        monkeypatch.setattr(resources.dispatcher, "send", send)
        for _ in range(12):
            with unit_of_work(resources.sessions) as session:
                request = RunRequest(input="Hello")
                runs.append(submit(session, resources.dispatcher, principal, assistant.id, request))
        wait_until(
            lambda: all(status_of(committed_sessions, run) is RunStatus.SUCCEEDED for run in runs), timeout=60
        )


def test_what_a_run_calls_as_a_tool_needs_no_room_of_its_own(
    resources, committed_sessions, make_run, factories
):
    parent = make_run(status=RunStatus.RUNNING)
    make_run(status=RunStatus.RUNNING)
    child = factories.structure_run(parent_run_id=parent.id)
    with unit_of_work(committed_sessions) as session:
        sharing = RecordingDispatcher(share=2)
        moves.claim(session, sharing, child.id, attempt=1, worker="w", lease_ttl=timedelta(seconds=20))
        assert shares.take_next(session, parent.organization_id, share=2) == []


def test_the_reconciler_sends_what_waits_only_once_there_is_room(
    committed_settings, committed_sessions, make_run, make_principal, dispatcher
):
    dispatcher.share = 2
    held = [make_run(status=RunStatus.RUNNING) for _ in range(2)]
    waiting, neighbours = make_run(), make_run(make_principal())
    hold_back(committed_sessions, waiting)
    with unit_of_work(committed_sessions) as session:
        overdue = update(Run).where(Run.id.in_([waiting.id, neighbours.id]))
        session.execute(
            overdue.values(dispatched_at=Run.dispatched_at - PAST, queued_at=Run.queued_at - PAST)
        )
    dispatcher.enqueued.clear()
    reconciler = Reconciler(committed_settings, committed_sessions, dispatcher)
    reconciler.round()
    assert dispatcher.enqueued == [(neighbours.id, 1)]
    with unit_of_work(committed_sessions) as session:  # by whom the share is forgotten
        transitions.apply(session, held[0].id, Trigger.BREAK, attempt=1)
    reconciler.round()
    assert dispatcher.enqueued[1:] == [(waiting.id, 1)]
    reconciler.round()
    assert dispatcher.enqueued[2:] == []


def test_runs_that_waited_for_a_share_are_sent_once_there_is_none(
    committed_settings, committed_sessions, make_run, dispatcher
):
    waiting = make_run()
    hold_back(committed_sessions, waiting)
    dispatcher.enqueued.clear()
    unshared = committed_settings.model_copy(update={"running_share": None})
    Reconciler(unshared, committed_sessions, dispatcher).round()
    assert dispatcher.enqueued == [(waiting.id, 1)]


def test_the_doctor_says_what_waits_for_its_share(
    committed_settings, committed_sessions, make_run, make_principal
):
    for _ in range(2):
        make_run(status=RunStatus.RUNNING)
    waiting, neighbours = make_run(), make_run(make_principal())
    with unit_of_work(committed_sessions) as session:
        session.execute(
            update(Run)
            .where(Run.id.in_([waiting.id, neighbours.id]))
            .values(queued_at=Run.queued_at - PAST, dispatched_at=Run.dispatched_at - PAST)
        )
    hold_back(committed_sessions, waiting)
    with committed_sessions() as session:
        findings = {one.name: one for one in examine_runs(session, committed_settings, waiting=frozenset())}
    assert str(waiting.id) in findings["Held back"].seen
    assert str(neighbours.id) not in findings["Held back"].seen
    assert str(neighbours.id) in findings["Waiting"].seen
    assert str(waiting.id) not in findings["Waiting"].seen


def test_without_a_setting_nobody_waits(committed_settings, committed_sessions, make_run):
    runs = [make_run(status=RunStatus.RUNNING) for _ in range(3)]
    with unit_of_work(committed_sessions) as session:
        shares.require_room(session, runs[0], share=None)
        assert session.scalar(select(func.count()).where(shares.is_held_back(None))) == 0


def test_a_tenant_whose_turn_somebody_has_for_long_holds_up_no_other(
    resources, committed_settings, committed_sessions, make_run, make_principal, sent
):
    """As does a process that was stopped while it chose: all tasks of a process leave by one thread."""
    run, neighbours = make_run(), make_run(make_principal())
    with unit_of_work(committed_sessions) as session:
        session.execute(update(Run).values(dispatched_at=None))
    with unit_of_work(committed_sessions) as holder:
        assert shares.take_next(holder, run.organization_id, share=0) == []
        with unit_of_work(committed_sessions) as session:
            for each in (run, neighbours):
                resources.dispatcher.enqueue_next(session, each.organization_id)
        wait_until(lambda: sent == [neighbours.id], timeout=30, what="the neighbours' run to be sent")
    Reconciler(committed_settings, committed_sessions, resources.dispatcher).round()
    wait_until(lambda: sent == [neighbours.id, run.id], timeout=30, what="the run to be sent")

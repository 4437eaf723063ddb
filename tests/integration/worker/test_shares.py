"""Promise 8: the workers are shared. No organization has more of them at once than its share."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from shared.db import unit_of_work
from shared.doctor.stuck import examine_runs
from shared.models import Run
from shared.runs import shares, transitions
from shared.runs.effects import cancel_by, follow
from shared.runs.lifecycle import HELD, RunStatus, Trigger
from tests.support.seats import FakeSeat
from tests.support.waiting import wait_until
from worker import resources as worker_resources
from worker.execution import Ending, execute
from worker.executors.base import Succeeded
from worker.reconciler import Reconciler

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
    return execute(resources, run.id, run.attempt + 1, FakeSeat(), resolve=lambda _model: executor)


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


@pytest.mark.parametrize("end", ["succeeds", "is cancelled", "is requeued", "is broken"])
def test_the_next_is_sent_when_one_ends(resources, make_run, make_principal, sent, end):
    running = [make_run(status=RunStatus.RUNNING) for _ in range(2)]
    first, _second = make_run(), make_run()
    make_run(make_principal())
    with unit_of_work(resources.sessions) as session:
        dispatcher, run_id = resources.dispatcher, running[0].id
        match end:
            case "is cancelled":
                cancel_by(session, dispatcher, run_id, requested_by="me")
            case "succeeds":
                values = {"output": ANSWER}
                follow(
                    session,
                    dispatcher,
                    transitions.apply(session, run_id, Trigger.SUCCEED, attempt=1, values=values),
                )
            case _:
                trigger = Trigger.REQUEUE if end == "is requeued" else Trigger.BREAK
                follow(session, dispatcher, transitions.apply(session, run_id, trigger, attempt=1))
    expected = running[0] if end == "is requeued" else first
    wait_until(lambda: expected.id in sent, timeout=20)
    assert set(sent) == {expected.id}


def test_all_of_an_organizations_runs_end_though_only_so_many_run_at_once(
    resources, committed_sessions, make_run, monkeypatch
):
    """Whoever is refused is sent again: nothing is left to the reconciler."""
    runs = [make_run() for _ in range(12)]
    with ThreadPoolExecutor(6) as pool:

        def send(run_id, *, attempt, **_):
            pool.submit(
                execute,
                resources,
                run_id,
                attempt,
                FakeSeat(),
                resolve=lambda _: lambda *_: Succeeded(ANSWER),
            )

        monkeypatch.setattr(resources.dispatcher, "send", send)
        for run in runs:
            send(run.id, attempt=1)
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
        claimed = transitions.claim(
            session, child.id, attempt=1, worker="w", lease_ttl=timedelta(seconds=20)
        ).run
        shares.require_room(session, claimed, share=2)
        assert shares.next_of(session, parent.organization_id, share=2) == []


def test_the_reconciler_does_not_send_what_waits_for_its_share(
    committed_settings, committed_sessions, make_run, make_principal, dispatcher
):
    held = [make_run(status=RunStatus.RUNNING) for _ in range(2)]
    waiting, neighbours = make_run(), make_run(make_principal())
    with unit_of_work(committed_sessions) as session:
        overdue = update(Run).where(Run.id.in_([waiting.id, neighbours.id]))
        session.execute(overdue.values(dispatched_at=Run.dispatched_at - PAST))
    dispatcher.enqueued.clear()
    reconciler = Reconciler(committed_settings, committed_sessions, dispatcher)
    reconciler.round()
    assert dispatcher.enqueued == [(neighbours.id, 1)]
    with unit_of_work(committed_sessions) as session:
        cancel_by(session, dispatcher, held[0].id, requested_by="me")
    reconciler.round()
    assert dispatcher.enqueued[1:] == [(waiting.id, 1)]


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
    with committed_sessions() as session:
        findings = {one.name: one for one in examine_runs(session, committed_settings, queue_length=1)}
    assert str(waiting.id) in findings["Held back"].seen
    assert str(neighbours.id) not in findings["Held back"].seen
    assert str(neighbours.id) in findings["Waiting"].seen
    assert str(waiting.id) not in findings["Waiting"].seen


def test_without_a_setting_nobody_waits(committed_settings, committed_sessions, make_run):
    runs = [make_run(status=RunStatus.RUNNING) for _ in range(3)]
    with unit_of_work(committed_sessions) as session:
        shares.require_room(session, runs[0], share=None)
        assert session.scalar(select(func.count()).where(shares.is_used_up(None))) == 0

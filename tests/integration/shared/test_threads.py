"""Runs on one thread: one at a time, in order, and none forgotten."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError, OperationalError

from shared.artifacts import decode_text, text_artifact
from shared.assistants.runs import RunRequest, submit
from shared.db import unit_of_work
from shared.errors import ConflictError, ThreadNotFoundError
from shared.lifecycle import Reason, RunStatus, StatusDetail, Trigger
from shared.models import Message, Run, Thread
from shared.runs import moves, transitions
from shared.threads import queries
from shared.threads import service as threads
from shared.threads import turns as admission
from shared.threads.service import NewMessage
from tests.support.dispatching import RecordingDispatcher

LEASE = timedelta(seconds=20)


@pytest.fixture
def principal(factories):
    return factories.default_principal()


@pytest.fixture
def make_thread(factories, principal):
    def make_thread(**fields):
        with unit_of_work(factories._sessions) as session:
            return threads.create(session, principal, {"name": "talk", **fields})

    return make_thread


def begin(sessions, run, attempt=1):
    with unit_of_work(sessions) as session:
        moves.claim(session, RecordingDispatcher(), run.id, attempt=attempt, worker="w", lease_ttl=LEASE)
    with unit_of_work(sessions) as session:
        transitions.apply(session, run.id, Trigger.START, attempt=attempt)


def succeed(sessions, dispatcher, run, answer="fine"):
    with unit_of_work(sessions) as session:
        detail = StatusDetail(Reason.COMPLETED, "The assistant answered.")
        answered = {"prompt": run.input, "output": text_artifact(answer)}
        moves.succeed(session, dispatcher, run.id, attempt=1, detail=detail, **answered)


def waiting(sessions):
    with sessions() as session:
        return set(session.scalars(select(Run.id).where(*admission.WAITING)))


def test_the_first_run_goes_and_the_next_waits_and_says_so(sessions, make_thread, make_run, dispatcher):
    thread = make_thread()
    first, second = make_run(thread_id=thread.id), make_run(thread_id=thread.id)
    assert dispatcher.enqueued == [(first.id, 1)]
    assert second.waits_for_thread
    assert second.status_detail["reason"] == "WaitingForThread"
    assert waiting(sessions) == {second.id}


def test_runs_of_different_threads_do_not_wait_for_each_other(make_thread, make_run, dispatcher):
    runs = [make_run(thread_id=make_thread().id) for _ in range(2)]
    assert dispatcher.enqueued == [(run.id, 1) for run in runs]


def test_a_waiting_run_can_be_claimed_by_nobody(sessions, make_thread, make_run):
    thread = make_thread()
    make_run(thread_id=thread.id)
    second = make_run(thread_id=thread.id)
    with pytest.raises(transitions.TransitionRefusedError), unit_of_work(sessions) as session:
        moves.claim(session, RecordingDispatcher(), second.id, attempt=1, worker="w", lease_ttl=LEASE)


def test_runs_have_their_thread_in_the_order_of_their_creation(
    committed_sessions, make_thread, make_run, dispatcher
):
    thread = make_thread()
    runs = [make_run(thread_id=thread.id, input=f"question {n}") for n in range(4)]
    for number, run in enumerate(runs):
        assert dispatcher.enqueued[-1] == (run.id, 1)
        begin(committed_sessions, run)
        succeed(committed_sessions, dispatcher, run, f"answer {number}")
    with committed_sessions() as session:
        messages = queries.page_of_messages(session, thread.id).rows
    assert [(one.index, decode_text(one.input), decode_text(one.output)) for one in messages] == [
        (n, f"question {n}", f"answer {n}") for n in range(4)
    ]


def cancelled(session, dispatcher, run):
    moves.cancel(session, dispatcher, run.id, requested_by="me")


def broken(session, dispatcher, run):
    detail = StatusDetail(Reason.TIMED_OUT, "It took too long.")
    moves.break_(session, dispatcher, run.id, attempt=1, detail=detail)


@pytest.mark.parametrize("end", [cancelled, broken])
def test_the_next_run_goes_when_the_holder_did_not_succeed(sessions, make_thread, make_run, dispatcher, end):
    thread = make_thread()
    first, second = make_run(thread_id=thread.id), make_run(thread_id=thread.id)
    begin(sessions, first)
    with unit_of_work(sessions) as session:
        end(session, dispatcher, first)
    assert dispatcher.enqueued[-1] == (second.id, 1)
    with sessions() as session:
        assert session.get_one(Run, second.id).status_detail is None
        assert session.scalars(select(Message)).all() == []


def test_a_waiting_run_that_is_cancelled_lets_the_holder_be(sessions, make_thread, make_run, dispatcher):
    thread = make_thread()
    make_run(thread_id=thread.id)
    second, third = make_run(thread_id=thread.id), make_run(thread_id=thread.id)
    with unit_of_work(sessions) as session:
        cancelled = moves.cancel(session, dispatcher, second.id, requested_by="me")
    assert cancelled.status is RunStatus.CANCELLED
    assert cancelled.status_detail["stopped_how"] == "never_started"
    assert waiting(sessions) == {third.id}


def test_a_requeued_run_keeps_its_thread(sessions, make_thread, make_run, dispatcher):
    thread = make_thread()
    first, second = make_run(thread_id=thread.id), make_run(thread_id=thread.id)
    begin(sessions, first)
    with unit_of_work(sessions) as session:
        detail = StatusDetail(Reason.WORKER_DRAINED, "Its worker was stopped.")
        moves.requeue(session, dispatcher, first.id, attempt=1, detail=detail)
    assert dispatcher.enqueued[-1] == (first.id, 2)
    assert waiting(sessions) == {second.id}


def test_of_many_that_come_at_once_one_has_the_thread_and_all_get_it(
    committed_sessions, make_thread, make_run, dispatcher
):
    thread = make_thread()
    barrier, runs = threading.Barrier(6), []

    def submit(number):
        barrier.wait()
        runs.append(make_run(thread_id=thread.id, input=str(number)))

    racers = [threading.Thread(target=submit, args=(number,)) for number in range(6)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    done = []
    while len(done) < 6:
        assert len(dispatcher.enqueued) == len(done) + 1
        run_id, _ = dispatcher.enqueued[-1]
        (run,) = [one for one in runs if one.id == run_id]
        begin(committed_sessions, run)
        succeed(committed_sessions, dispatcher, run)
        done.append(run_id)
    assert set(done) == {run.id for run in runs}


def test_an_end_and_a_submit_at_once_forget_nobody(committed_sessions, make_thread, make_run, dispatcher):
    for _ in range(10):
        thread = make_thread()
        holder = make_run(thread_id=thread.id)
        begin(committed_sessions, holder)
        barrier, late = threading.Barrier(2), []

        def end(holder=holder, barrier=barrier):
            barrier.wait()
            succeed(committed_sessions, dispatcher, holder)

        def submit(thread=thread, barrier=barrier, late=late):
            barrier.wait()
            late.append(make_run(thread_id=thread.id))

        racers = [threading.Thread(target=end), threading.Thread(target=submit)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        assert (late[0].id, 1) in dispatcher.enqueued
        assert waiting(committed_sessions) == set()


def test_an_end_and_cancels_of_waiting_runs_at_once_do_not_block_each_other(
    committed_sessions, make_thread, make_run, dispatcher
):
    for _ in range(8):
        thread = make_thread()
        holder, *others = [make_run(thread_id=thread.id) for _ in range(4)]
        begin(committed_sessions, holder)
        barrier, failures = threading.Barrier(3), []

        def race(work, barrier=barrier, failures=failures):
            barrier.wait()
            try:
                work()
            except OperationalError as error:  # a deadlock
                failures.append(error)

        def cancel(run):
            with unit_of_work(committed_sessions) as session:
                moves.cancel(session, dispatcher, run.id, requested_by="me")

        works = [
            lambda holder=holder: succeed(committed_sessions, dispatcher, holder),
            lambda run=others[0]: cancel(run),
            lambda run=others[1]: cancel(run),
        ]
        racers = [threading.Thread(target=race, args=(work,)) for work in works]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        assert failures == []
        assert (others[2].id, 1) in dispatcher.enqueued
        assert waiting(committed_sessions) == set()


def test_the_database_refuses_two_runs_that_have_one_thread(sessions, make_thread, make_run):
    thread = make_thread()
    make_run(thread_id=thread.id)
    second = make_run(thread_id=thread.id)
    with pytest.raises(IntegrityError), unit_of_work(sessions) as session:
        session.get_one(Run, second.id).waits_for_thread = False


def test_a_deleted_thread_lets_its_runs_go(sessions, make_thread, make_run, dispatcher, principal):
    thread = make_thread()
    first, second = make_run(thread_id=thread.id), make_run(thread_id=thread.id)
    with unit_of_work(sessions) as session:
        threads.delete(session, dispatcher, principal, thread.id)
    assert dispatcher.enqueued[-1] == (second.id, 1)
    with sessions() as session:
        assert {session.get_one(Run, run.id).thread_id for run in (first, second)} == {None}
        assert session.get(Thread, thread.id) is None


def test_a_gap_in_admission_would_be_found(sessions, make_thread, make_run, dispatcher):
    thread = make_thread()
    first, second = make_run(thread_id=thread.id), make_run(thread_id=thread.id)
    with unit_of_work(sessions) as session:
        assert admission.find_free_threads_waited_for(session, limit=10) == []
        transitions.apply(session, first.id, Trigger.CANCEL)  # and nobody follows
    with unit_of_work(sessions) as session:
        assert admission.find_free_threads_waited_for(session, limit=10) == [thread.id]
        assert admission.admit_next(session, dispatcher, thread.id) == second.id


def test_another_organizations_thread_is_as_unknown_as_any(sessions, make_thread, factories, dispatcher):
    thread, stranger = make_thread(), factories.principal()
    assistant = factories.assistant(stranger)
    with pytest.raises(ThreadNotFoundError), unit_of_work(sessions) as session:
        request = RunRequest(input="Hi", thread_id=thread.id)
        submit(session, dispatcher, stranger, assistant.id, request)


def test_a_new_thread_is_made_for_a_run(sessions, make_run):
    run = make_run(new_thread=True)
    with sessions() as session:
        assert session.get_one(Thread, run.thread_id).organization_id == run.organization_id


def test_an_alias_is_one_threads_in_an_organization(sessions, make_thread, factories):
    make_thread(alias="x")
    with pytest.raises(ConflictError):
        make_thread(alias="x")
    with unit_of_work(sessions) as session:
        assert threads.create(session, factories.principal(), {"name": "n", "alias": "x"}).alias == "x"


def test_messages_are_replaced_as_a_whole_and_counted(sessions, make_thread, principal):
    thread = make_thread()
    with unit_of_work(sessions) as session:
        threads.post_message(session, principal, thread.id, NewMessage("old", "old"))
    with unit_of_work(sessions) as session:
        new = [NewMessage(f"in {n}", f"out {n}") for n in range(3)]
        threads.change(session, principal, thread.id, {}, new)
    with unit_of_work(sessions) as session:
        added = threads.post_message(session, principal, thread.id, NewMessage("é", "x"))
        assert added.index == 3
        size = queries.sizes(session, [thread.id])[thread.id]
    assert (size.message_count, size.messages_length) == (4, 3 * 9 + 2)


@pytest.mark.parametrize(
    ("stored", "text"),
    [
        ("plain", "plain"),
        ('{"type": "TextArtifact", "value": "hello"}', "hello"),
        ('{"type": "JsonArtifact", "value": {"a": 1}}', '{"a": 1}'),
        ('{"no": "artifact"}', '{"no": "artifact"}'),
        ("12", "12"),
        ("", ""),
    ],
)
def test_a_message_is_read_whether_artifact_or_plain(stored, text):
    assert decode_text(stored) == text


@pytest.fixture
def talk(sessions, make_thread, principal):
    """A thread of ten exchanges, each of twenty bytes."""
    thread = make_thread()
    with unit_of_work(sessions) as session:
        for number in range(10):
            said = NewMessage(f"asked {number}...", f"told {number}....")
            threads.append(session, thread.id, said, created_by=principal.user_id)
    return thread


@pytest.mark.parametrize(
    ("max_messages", "max_bytes", "kept"),
    [
        (100, 10_000, 10),
        (3, 10_000, 3),
        (100, 65, 3),
        (100, 66, 3),
        (100, 19, 0),
        (0, 10_000, 0),
        (100, 0, 0),
    ],
)
def test_the_newest_exchanges_of_a_thread_that_fit_are_read(sessions, talk, max_messages, max_bytes, kept):
    with sessions() as session:
        recent = queries.recent_exchanges(session, talk.id, max_messages=max_messages, max_bytes=max_bytes)
    assert [asked for asked, _ in recent.exchanges] == [f"asked {n}..." for n in range(10 - kept, 10)]
    assert recent.left_out == 10 - kept


def test_what_is_older_than_one_that_does_not_fit_is_left_out_too(sessions, talk, principal):
    with unit_of_work(sessions) as session:
        for output in ("x" * 1_000, "short"):
            threads.append(session, talk.id, NewMessage("asked", output), created_by=principal.user_id)
    with sessions() as session:
        recent = queries.recent_exchanges(session, talk.id, max_messages=100, max_bytes=500)
    assert (recent.exchanges, recent.left_out) == ([("asked", "short")], 11)

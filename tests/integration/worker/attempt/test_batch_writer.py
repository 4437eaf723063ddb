"""The batch writer: runs of a process are begun, recorded and ended together, as each would be alone."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
import structlog
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from shared.db import unit_of_work
from shared.events import log
from shared.events.log import Batch
from shared.lifecycle import Reason, RunStatus, StatusDetail, Trigger
from shared.models import Run
from shared.processes.vitals import Vitals
from shared.runs import moves
from shared.threads import service as threads
from tests.support.checkout import ROOT
from tests.support.dispatching import RecordingDispatcher
from tests.support.listening import listen
from tests.support.refusals import refusing_writes
from tests.support.slots import FakeSlot
from tests.support.waiting import wait_until
from worker.attempt import batch_writer, event_writer
from worker.attempt import resources as worker_resources
from worker.attempt.batch_writer import ALONE_BYTES, TICK_BYTES, BatchWriter
from worker.attempt.conclusion import Ending
from worker.attempt.event_writer import EventWriter
from worker.attempt.execution import execute
from worker.attempt.lease import LeaseKeeper
from worker.cancellation import CancelToken, RunStopped, StopReason
from worker.executors.base import ExecutorEvent, Failed, InvalidConfigurationError, PlatformError, Succeeded

PATIENCE = 60
MANY = 40
ANSWER = {"type": "TextArtifact", "id": "a", "name": "a", "meta": {}, "reference": None, "value": "hello"}
DETAIL = StatusDetail(Reason.COMPLETED, "It is done.")


@pytest.fixture
def setting_overrides():
    return {"event_flush": timedelta(milliseconds=20), "database_outage_grace": timedelta(seconds=20)}


@pytest.fixture
def resources(committed_settings):
    """A worker process' resources whose messages are remembered and not sent."""
    made = worker_resources.make(committed_settings)
    made.dispatcher.close()
    sent = RecordingDispatcher()
    writer = BatchWriter(
        made.sessions, sent, committed_settings, worker_name=made.worker_name, runs=lambda: leases.runs
    )
    leases = LeaseKeeper(made.sessions, committed_settings, between_ticks=writer.between_ticks)
    made = replace(made, dispatcher=sent, batches=writer, leases=leases)
    yield made
    made.close()


@dataclass
class Execution:
    """A run that is being executed in a thread."""

    run: Run
    slot: FakeSlot
    thread: threading.Thread
    ending: Ending | None = None

    def join(self):
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive(), "the run never ended"
        return self.ending


@pytest.fixture
def start(resources, make_run):
    """Execute a run, a new one if none is given, with an executor."""
    begun = []

    def start(executor, run=None, attempt=1):
        made = Execution(run or make_run(), FakeSlot(), threading.Thread())

        def work():
            made.ending = execute(resources, made.run.id, attempt, made.slot, resolve=lambda *_: executor)

        made.thread = threading.Thread(target=work, daemon=True)
        made.thread.start()
        begun.append(made)
        return made

    yield start
    for one in begun:
        one.slot.token.cancel(StopReason.CANCELLED)
        one.thread.join(PATIENCE)


@pytest.fixture
def traffic(resources):
    """What the worker has said to PostgreSQL: each item is a round trip."""
    said = []
    listen(resources.engine, "begin", lambda _: said.append("BEGIN"))
    listen(resources.engine, "commit", lambda _: said.append("COMMIT"))
    listen(resources.engine, "rollback", lambda _: said.append("ROLLBACK"))
    listen(resources.engine, "before_cursor_execute", lambda *given: said.append(given[2]))
    return said


@pytest.fixture
def gate(monkeypatch):
    """While it is cleared, no transaction of the batch writer begins, and work gathers."""
    is_open = threading.Event()
    is_open.set()

    @contextmanager
    def gated(sessions):
        assert is_open.wait(PATIENCE)
        with unit_of_work(sessions) as session:
            yield session

    monkeypatch.setattr(batch_writer, "unit_of_work", gated)
    return is_open


@pytest.fixture
def asked(resources, monkeypatch):
    """The begins and ends that runs have asked the batch writer for, wherever they are by now."""
    asked, decided = [], resources.batches._decided

    def ask(request):
        asked.append(request)
        return decided(request)

    monkeypatch.setattr(resources.batches, "_decided", ask)
    return asked


@pytest.fixture
def logged(monkeypatch):
    """The lines of a module's log during a block."""

    @contextmanager
    def logged(name):
        lines = []
        record = structlog.testing.CapturingLogger()
        with monkeypatch.context() as patch:
            patch.setattr(name, record)
            yield lines
        lines += [(call.method_name, call.args, call.kwargs) for call in record.calls]

    return logged


@pytest.fixture
def ticks(monkeypatch):
    """What each transaction of the batch writer was to write: the arguments of `store_together`."""
    store_together, ticks = moves.store_together, []

    def record(*given, **options):
        ticks.append(options)
        return store_together(*given, **options)

    monkeypatch.setattr(moves, "store_together", record)
    return ticks


@pytest.fixture
def lose_answer(monkeypatch):
    """Lose the answer to the next commit of the batch writer; it takes effect."""

    def lose_answer(gate=None):
        is_lost = False

        @contextmanager
        def losing(sessions):
            nonlocal is_lost
            assert gate is None or gate.wait(PATIENCE)
            with unit_of_work(sessions) as session:
                yield session
            if not is_lost:
                is_lost = True
                raise OperationalError("COMMIT", {}, ConnectionError("gone"))

        monkeypatch.setattr(batch_writer, "unit_of_work", losing)

    return lose_answer


@pytest.fixture
def cancel_all(committed_sessions):
    """Cancel runs that are executed; a revoke says it to their worker only."""

    def cancel_all(begun, *, is_by_api):
        if is_by_api:
            with unit_of_work(committed_sessions) as session:
                for one in begun:
                    moves.cancel(session, RecordingDispatcher(), one.run.id, requested_by="ada")
        for one in begun:
            one.slot.token.cancel(StopReason.CANCELLED)

    return cancel_all


def let_die(writer):
    """Let a batch writer be dead from the beginning, so that every run writes alone."""
    writer._is_dead = True


def say(number, **payload):
    return ExecutorEvent("Word", {"type": "Word", "number": number, **payload})


def numbers_of(events):
    return [one.payload["number"] for one in events if one.type == "Word"]


def check_whole(events, numbers):
    """Fail unless a log has no hole, one end, and these words in order."""
    assert [one.seq for one in events] == list(range(len(events)))
    assert numbers_of(events) == list(numbers)
    assert [one.is_last for one in events] == [False] * (len(events) - 1) + [True]


def answering(count=0):
    def executor(_context, emit):
        for number in range(count):
            emit(say(number))
        return Succeeded(ANSWER)

    return executor


SELDOM = {
    "event_flush": timedelta(minutes=1),
    "heartbeat": timedelta(minutes=1),
    "lease_ttl": timedelta(minutes=5),
}


@pytest.mark.parametrize("setting_overrides", [SELDOM])
@pytest.mark.parametrize(("words", "transactions", "round_trips"), [(0, 2, 10), (20, 3, 15)])
def test_a_run_costs_few_transactions_and_few_round_trips(
    start, traffic, reload, words, transactions, round_trips
):
    one = start(answering(words))
    assert one.join() is Ending.SUCCEEDED
    wait_until(lambda: traffic[-1] == "COMMIT", timeout=PATIENCE)
    renewals = [said for said in traffic if "UPDATE runs SET lease_expires_at" in said]
    assert renewals == []
    assert traffic.count("COMMIT") <= transactions, traffic
    assert len(traffic) <= round_trips, traffic
    assert reload(one.run).status is RunStatus.SUCCEEDED


def test_runs_that_begin_together_need_fewer_transactions_than_there_are_runs(
    start, make_run, gate, asked, ticks, reload
):
    runs = [make_run() for _ in range(MANY)]
    gate.clear()
    begun = [start(answering(), run) for run in runs]
    wait_until(lambda: len(asked) == MANY, timeout=PATIENCE)  # a few of them are at the gate already
    gate.set()
    assert [one.join() for one in begun] == [Ending.SUCCEEDED] * MANY
    assert sum(bool(tick["begins"]) for tick in ticks) < MANY / 2
    assert {reload(run).status for run in runs} == {RunStatus.SUCCEEDED}


ODD = [
    {},
    {"text": "a\x00b", "\x00key": [None, True, 1.5]},
    {"half": "\ud800 and \udfff", "whole": "\U0001f600"},
    {"huge": 10**40, "unsigned": 2**64 - 1, "negative": -(2**63), "most": 1.7976931348623157e308},
    {"infinite": float("inf"), "none": float("nan"), "tiny": 5e-324, "exact": 0.1 + 0.2},
    {"nested": {"a": [[[{"b": {}}]], []]}, "unknown": object},
    {"quotes": "'\"\\%s %(a)s :b $1 \u2028", "number": "1e400"},
]


def succeed(_context, emit):
    for payload in ODD:
        emit(ExecutorEvent("Odd", payload))
    counts = {"input_token_count": 3, "output_token_count": 4}
    emit(ExecutorEvent("FinishPromptEvent", {"type": "FinishPromptEvent", "model": "m", **counts}))
    return Succeeded({**ANSWER, "value": "a\x00\ud800", "meta": {"huge": 10**40}}, message="a\x00b")


def succeed_without_events(_context, _emit):
    return Succeeded(ANSWER)


def succeed_without_output(_context, emit):
    emit(say(0))
    return Succeeded(None)


def fail(_context, emit):
    emit(say(0))
    return Failed("No.\x00", detail={"odd": "\ud800"})


def raise_error(_context, emit):
    emit(say(0))
    raise ValueError("odd\x00")


def break_(_context, emit):
    emit(say(0))
    raise PlatformError("The platform broke.")


def be_misconfigured(_context, _emit):
    raise InvalidConfigurationError("There is no such model.")


def return_nonsense(_context, emit):
    emit(say(0))
    return "done"


TIMES = ("id", "timestamp", "started_at", "completed_at", "requested_at", "stopped_at", "runtime")


def masked(value, run):
    """A value without what differs from run to run."""
    match value:
        case dict():
            varies = {*TIMES, "name"} if value.get("name") == value.get("id") else TIMES
            return {key: "*" if key in varies else masked(item, run) for key, item in value.items()}
        case list() | tuple():
            return [masked(item, run) for item in value]
        case str():
            return value.replace(str(run.id), "RUN").replace(run.id.hex, "RUN")
        case _:
            return value


def seen_of(run, events, sent):
    """All that anybody sees of a run, but for ids and times."""
    columns = ("status", "status_detail", "usage", "output", "stored_bytes", "event_count", "log_count")
    columns += ("worker", "process", "attempt", "losses", "is_stopping", "lease_expires_at", "dispatch_count")
    stored = [(one.seq, one.origin, one.type, masked(one.payload, run), one.attempt) for one in events]
    told = [one for one in sent.told if str(run.id) in one.fields["uuid"]]
    return {
        "row": {name: masked(getattr(run, name), run) for name in columns},
        "times": [run.started_at is None, run.completed_at is None, run.started_at <= run.completed_at],
        "is touched": run.updated_at >= run.completed_at,
        "stored": stored,
        "sizes": [one.size for one in events if one.type != "FinishStructureRunEvent"],
        "published": [one for one in sent.announced if one.run_id == run.id] == events,
        "told": [(one.type, one.worker, masked(dict(one.fields), run)) for one in told],
    }


@pytest.mark.parametrize(
    "executor",
    [
        succeed,
        succeed_without_events,
        succeed_without_output,
        fail,
        raise_error,
        break_,
        be_misconfigured,
        return_nonsense,
    ],
)
@pytest.mark.parametrize("setting_overrides", [SELDOM])
def test_a_run_of_a_batch_is_as_if_it_were_alone(start, resources, reload, events_of, ticks, executor):
    def seen():
        one = start(executor)
        one.join()
        after = wait_until(lambda: (run := reload(one.run)).completed_at and run, timeout=PATIENCE)
        return one.ending, seen_of(after, events_of(one.run), resources.dispatcher)

    ending, together = seen()
    assert [len(tick["begins"]) for tick in ticks if tick["begins"]] == [1]
    let_die(resources.batches)
    number = len(ticks)
    alone = seen()
    for what, value in together.items():
        assert value == alone[1][what], what
    assert ending is alone[0]
    assert len(ticks) == number


def test_a_run_that_begins_in_a_batch_is_held_as_if_it_were_alone(
    start, resources, reload, committed_sessions
):
    def seen():
        go_on = threading.Event()

        def executor(_context, _emit):
            assert go_on.wait(PATIENCE)
            return Succeeded(ANSWER)

        one = start(executor)
        run = wait_until(
            lambda: (run := reload(one.run)).status is RunStatus.RUNNING and run, timeout=PATIENCE
        )
        lease = run.lease_expires_at - run.started_at
        go_on.set()
        one.join()
        return run.attempt, run.worker, run.process, run.losses, round(lease.total_seconds())

    together = seen()
    let_die(resources.batches)
    assert together == seen()


@dataclass
class Speaking:
    """An executor that says a word which is stored, then one that waits for its batch."""

    spoken: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    more: threading.Event = field(default_factory=threading.Event)

    def __call__(self, context, emit):
        emit(say(0))
        assert self.more.wait(PATIENCE)
        emit(say(1))
        self.spoken.release()
        context.token.wait(PATIENCE)
        context.token.raise_if_cancelled()

    def go_on(self, runs, events_of):
        """Say the second word in each run, once the first is stored."""
        wait_until(lambda: all(numbers_of(events_of(run)) == [0] for run in runs), timeout=PATIENCE)
        self.more.set()
        assert all(self.spoken.acquire(timeout=PATIENCE) for _ in runs)


@pytest.mark.parametrize(("is_by_api", "words"), [(True, [0]), (False, [0, 1])], ids=["api", "revoke"])
@pytest.mark.parametrize("setting_overrides", [SELDOM])
def test_a_cancelled_run_of_a_batch_stops_as_if_it_were_alone(
    start, resources, reload, events_of, ticks, cancel_all, is_by_api, words
):
    """By the API the log has ended with the cancel; by a revoke what was said before is stored."""

    def seen():
        speaking = Speaking()
        one = start(speaking)
        speaking.go_on([one.run], events_of)
        cancel_all([one], is_by_api=is_by_api)
        ending = one.join()
        run, events = reload(one.run), events_of(one.run)
        check_whole(events, numbers_of(events))
        assert run.status_detail["stopped_at"] >= run.status_detail["requested_at"]
        what = seen_of(run, events, resources.dispatcher)
        for name in ("event_count", "stored_bytes"):  # without a batch the second word is stored at once
            del what["row"][name]
        return ending, {name: what[name] for name in ("row", "times", "is touched", "told")}, events

    ending, together, events = seen()
    assert ending is Ending.CANCELLED
    assert numbers_of(events) == words
    assert [tick for tick in ticks if tick["stops"]]
    let_die(resources.batches)
    alone = seen()
    assert (ending, together) == alone[:2]


@pytest.mark.parametrize("setting_overrides", [SELDOM])
def test_runs_that_are_cancelled_at_one_moment_stop_in_few_transactions(
    start, reload, traffic, gate, asked, events_of, cancel_all
):
    speaking = Speaking()
    begun = [start(speaking) for _ in range(MANY)]
    speaking.go_on([one.run for one in begun], events_of)
    gate.clear()
    asked.clear()
    traffic.clear()
    cancel_all(begun, is_by_api=True)
    wait_until(lambda: len(asked) == MANY, timeout=PATIENCE)
    gate.set()
    assert {one.join() for one in begun} == {Ending.CANCELLED}
    assert {reload(one.run).status_detail["stopped_how"] for one in begun} == {"cooperative"}
    assert traffic.count("COMMIT") <= 3


def test_what_was_declined_before_a_revoke_is_stored_before_the_end(
    start, reload, gate, ticks, events_of, cancel_all, committed_sessions
):
    """Somebody has locked the run: its batch is declined, and the run has not ended, as it seemed."""
    spoken, go_on = threading.Semaphore(0), threading.Event()

    def executor(context, emit):
        assert go_on.wait(PATIENCE)
        emit(say(0))
        spoken.release()
        context.token.wait(PATIENCE)
        context.token.raise_if_cancelled()

    one = start(executor)
    wait_until(lambda: reload(one.run).status is RunStatus.RUNNING, timeout=PATIENCE)
    gate.clear()
    go_on.set()
    assert spoken.acquire(timeout=PATIENCE)
    with unit_of_work(committed_sessions) as session:
        session.execute(select(Run.id).where(Run.id == one.run.id).with_for_update())
        cancel_all([one], is_by_api=False)
        gate.set()
        wait_until(lambda: any(tick["stops"] for tick in ticks), timeout=PATIENCE)
    assert one.join() is Ending.CANCELLED
    check_whole(events_of(one.run), [0])


def test_what_was_stored_before_a_revoke_without_an_answer_is_stored_once(
    start, reload, gate, lose_answer, events_of, cancel_all
):
    """The commit of its batch loses its answer while the run is told to stop, and nobody has cancelled it."""
    spoken, go_on = threading.Semaphore(0), threading.Semaphore(0)

    def executor(context, emit):
        for number in range(3):
            assert go_on.acquire(timeout=PATIENCE)
            emit(say(number))
            spoken.release()
        context.token.wait(PATIENCE)
        context.token.raise_if_cancelled()

    one = start(executor)
    wait_until(lambda: reload(one.run).status is RunStatus.RUNNING, timeout=PATIENCE)
    lose_answer(gate)
    gate.clear()
    for _ in range(3):
        go_on.release()
        assert spoken.acquire(timeout=PATIENCE)
    cancel_all([one], is_by_api=False)
    gate.set()
    assert one.join() is Ending.CANCELLED
    check_whole(events_of(one.run), [0, 1, 2])


def deepest():
    """A payload that is one event, and cannot be stored with others: it is nested too deep."""
    payload = {}
    for _ in range(252):
        payload = {"in": payload}
    return payload


def test_an_event_that_no_batch_takes_delays_no_other_run(
    start, make_run, gate, resources, events_of, reload
):
    runs = [make_run() for _ in range(MANY)]
    speak, spoken = threading.Event(), threading.Semaphore(0)

    def executor(context, emit):
        assert speak.wait(PATIENCE)
        emit(ExecutorEvent("Deep", deepest()) if context.run_id == runs[7].id else say(0))
        spoken.release()
        return Succeeded(ANSWER)

    begun = [start(executor, run) for run in runs]
    wait_until(lambda: all(reload(run).status is RunStatus.RUNNING for run in runs), timeout=PATIENCE)
    gate.clear()
    speak.set()
    assert all(spoken.acquire(timeout=PATIENCE) for _ in runs)
    gate.set()
    assert [one.join() for one in begun] == [Ending.SUCCEEDED] * MANY
    for run in runs:
        check_whole(events_of(run), [] if run is runs[7] else [0])
    assert "Deep" in [one.type for one in events_of(runs[7])]


REFUSE = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION USING ERRCODE = '23514', MESSAGE = 'refused'; END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON run_events FOR EACH ROW
    WHEN (NEW.payload ->> 'number' = '666') EXECUTE FUNCTION refuse();
"""


def test_an_event_that_the_table_refuses_breaks_its_run_alone(
    start, make_run, superuser_engine, reload, events_of
):
    with superuser_engine.begin() as connection:
        connection.exec_driver_sql(REFUSE)
    runs = [make_run() for _ in range(MANY)]
    speak = threading.Event()

    def executor(context, emit):
        assert speak.wait(PATIENCE)
        emit(say(666 if context.run_id == runs[7].id else 0))
        return Succeeded(ANSWER)

    begun = [start(executor, run) for run in runs]
    wait_until(lambda: all(reload(run).status is RunStatus.RUNNING for run in runs), timeout=PATIENCE)
    speak.set()
    endings = [one.join() for one in begun]
    assert endings.pop(7) is Ending.BROKEN
    assert set(endings) == {Ending.SUCCEEDED}
    assert reload(runs[7]).status_detail["reason"] == Reason.INTERNAL_ERROR
    for run in runs:
        check_whole(events_of(run), [] if run is runs[7] else [0])


def test_a_locked_run_delays_no_other_run_and_is_stored_in_order(
    start, make_run, committed_sessions, events_of, reload
):
    runs = [make_run() for _ in range(3)]
    speak = threading.Event()

    def executor(_context, emit):
        assert speak.wait(PATIENCE)
        for number in range(200):
            emit(say(number))
        return Succeeded(ANSWER)

    begun = [start(executor, run) for run in runs]
    wait_until(lambda: all(reload(run).status is RunStatus.RUNNING for run in runs), timeout=PATIENCE)
    with unit_of_work(committed_sessions) as session:
        session.execute(select(Run.id).where(Run.id == runs[0].id).with_for_update())
        speak.set()
        assert [one.join() for one in begun[1:]] == [Ending.SUCCEEDED] * 2
        assert numbers_of(events_of(runs[0])) == []
    assert begun[0].join() is Ending.SUCCEEDED
    for run in runs:
        check_whole(events_of(run), range(200))


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        ("another attempt", StopReason.LEASE_LOST),
        ("requeued", StopReason.LEASE_LOST),
        ("ended", StopReason.LEASE_LOST),
        ("cancelled", StopReason.CANCELLED),
    ],
)
def test_a_lease_that_is_lost_in_a_batch_fires_the_token_of_its_run_only(
    hold, make_run, gate, ticks, lose, events_of, way, reason
):
    held = [hold(make_run(status=RunStatus.RUNNING)) for _ in range(5)]
    writers = [EventWriter(one) for one in held]
    lose(held[1], way)
    before = len(events_of(held[1]))
    gate.clear()
    for writer in writers:
        writer.emit(say(0))
    gate.set()
    for writer in writers:
        writer.close()
    assert [one.token.reason for one in held] == [None, reason, None, None, None]
    assert [one.is_broken for one in writers] == [False, True, False, False, False]
    assert len(events_of(held[1])) == before
    assert [numbers_of(events_of(one)) for one in held] == [[0], [], [0], [0], [0]]
    assert max(len(tick["appends"]) for tick in ticks) >= 2
    with pytest.raises(RunStopped):
        writers[1].emit(say(1))


def test_events_whose_commit_lost_its_answer_are_stored_once(start, make_run, lose_answer, events_of, reload):
    run, speak, go_on = make_run(), threading.Event(), threading.Event()

    def executor(_context, emit):
        assert speak.wait(PATIENCE)
        emit(say(0))
        assert go_on.wait(PATIENCE)
        emit(say(1))
        return Succeeded(ANSWER)

    one = start(executor, run)
    wait_until(lambda: reload(run).status is RunStatus.RUNNING, timeout=PATIENCE)
    lose_answer()
    speak.set()
    wait_until(lambda: numbers_of(events_of(run)) == [0], timeout=PATIENCE)
    go_on.set()
    assert one.join() is Ending.SUCCEEDED
    check_whole(events_of(run), [0, 1])


def test_an_end_whose_commit_lost_its_answer_is_made_once(start, make_run, lose_answer, events_of, reload):
    run = make_run()

    def executor(_context, emit):
        emit(say(0))
        wait_until(lambda: numbers_of(events_of(run)) == [0], timeout=PATIENCE)
        lose_answer()
        return Succeeded(ANSWER)

    one = start(executor, run)
    assert one.join() is Ending.SUCCEEDED
    check_whole(events_of(run), [0])
    assert reload(run).event_count == len(events_of(run))


def test_an_end_with_events_whose_commit_lost_its_answer_stores_them_once(
    hold, make_run, lose_answer, events_of, reload
):
    run = make_run(status=RunStatus.RUNNING)
    held = hold(run)
    writer = EventWriter(held)
    lose_answer()
    with writer._changed:  # so that nothing is taken before the end
        writer._taken_at = float("inf")
    writer.emit(say(0))
    assert not writer.end(Trigger.SUCCEED, detail=DETAIL, output=ANSWER)
    writer.close()
    assert not writer.is_broken
    assert held.move(Trigger.SUCCEED, detail=DETAIL, output=ANSWER)
    check_whole(events_of(run), [0])


def test_a_run_whose_begin_lost_its_answer_is_taken_over(
    start, make_run, lose_answer, lose, events_of, reload
):
    run = make_run()
    lose_answer()
    assert start(answering(2), run).join() is Ending.NOT_CLAIMED
    assert reload(run).status is RunStatus.RUNNING
    lose(run, "requeued")  # as the reconciler does once the lease has expired
    assert start(answering(2), run, attempt=2).join() is Ending.SUCCEEDED
    check_whole(events_of(run), range(2))


WAITING = """
    SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


def test_a_commit_that_outlives_its_connection_stores_its_events_once(
    hold, make_run, monkeypatch, events_of, superuser_engine
):
    under_way = []

    @contextmanager
    def losing(sessions):
        session = sessions()
        session.begin()
        yield session
        under_way.append(session)
        raise OperationalError("COMMIT", {}, ConnectionError("gone"))

    def somebody_waits():
        with superuser_engine.connect() as connection:
            return under_way and connection.exec_driver_sql(WAITING).scalar()

    held = hold(make_run(status=RunStatus.RUNNING))
    writer = EventWriter(held)
    with monkeypatch.context() as patch:
        patch.setattr(batch_writer, "unit_of_work", losing)
        writer.emit(say(0))
        wait_until(somebody_waits, timeout=PATIENCE)
    under_way[0].commit()
    under_way[0].close()
    writer.close()
    assert held.token.reason is None
    assert numbers_of(events_of(held)) == [0]


def test_runs_go_on_alone_once_the_batch_writer_is_dead(
    start, make_run, gate, monkeypatch, resources, events_of, reload
):
    vitals, dead = Vitals(), []
    vitals.on_death(lambda: dead.append(1))
    monkeypatch.setattr(batch_writer, "vitals", vitals)
    runs = [make_run() for _ in range(MANY)]
    speak = threading.Event()

    def executor(_context, emit):
        assert speak.wait(PATIENCE)
        for number in range(100):
            emit(say(number))
        return Succeeded(ANSWER)

    def die(*_, **__):
        raise SystemExit

    half = [start(executor, run) for run in runs[:20]]
    wait_until(lambda: all(reload(run).status is RunStatus.RUNNING for run in runs[:20]), timeout=PATIENCE)
    monkeypatch.setattr(moves, "store_together", die)
    gate.clear()
    speak.set()
    rest = [start(executor, run) for run in runs[20:]]
    wait_until(lambda: resources.batches._requests and resources.batches._due, timeout=PATIENCE)
    gate.set()
    assert {one.join() for one in half + rest} == {Ending.SUCCEEDED}
    for run in runs:
        check_whole(events_of(run), range(100))
    assert (vitals.dead, dead) == (("batch-writer",), [1])


def test_of_two_messages_for_one_run_in_one_process_exactly_one_begins(
    start, make_run, gate, asked, events_of
):
    run = make_run()
    gate.clear()
    both = [start(answering(3), run) for _ in range(2)]
    other = start(answering(3))
    wait_until(lambda: len(asked) == 3, timeout=PATIENCE)
    gate.set()
    assert {one.join() for one in both} == {Ending.SUCCEEDED, Ending.NOT_CLAIMED}
    assert other.join() is Ending.SUCCEEDED
    check_whole(events_of(run), range(3))


def test_of_two_attempts_of_one_run_in_one_process_only_the_next_begins(
    start, make_run, gate, resources, events_of
):
    run = make_run()
    gate.clear()
    first, second = start(answering(3), run, attempt=1), start(answering(3), run, attempt=2)
    wait_until(lambda: len(resources.batches._requests) >= 1, timeout=PATIENCE)
    gate.set()
    assert (first.join(), second.join()) == (Ending.SUCCEEDED, Ending.NOT_CLAIMED)
    check_whole(events_of(run), range(3))


def test_many_runs_outlive_a_database_that_only_reads_and_lose_nothing(
    start, make_run, services, committed_settings, events_of, reload
):
    runs = [make_run() for _ in range(20)]
    spoken, go_on = threading.Semaphore(0), threading.Event()

    def executor(_context, emit):
        emit(say(0))
        spoken.release()
        assert go_on.wait(PATIENCE)
        for number in range(1, 150):
            emit(say(number))
        spoken.release()
        return Succeeded(ANSWER)

    begun = [start(executor, run) for run in runs]
    assert all(spoken.acquire(timeout=PATIENCE) for _ in runs)
    with refusing_writes(services, committed_settings):
        go_on.set()
        assert all(spoken.acquire(timeout=PATIENCE) for _ in runs)
    assert [one.join() for one in begun] == [Ending.SUCCEEDED] * 20
    for run in runs:
        check_whole(events_of(run), range(150))


def test_an_executor_waits_while_its_run_may_buffer_nothing_more(
    hold, make_run, services, committed_settings, monkeypatch, events_of
):
    monkeypatch.setattr(event_writer, "BUFFER_BYTES", 10_000)
    held = hold(make_run(status=RunStatus.RUNNING))
    writer, said = EventWriter(held), []

    def work():
        for number in range(60):
            writer.emit(say(number, text="x" * 1000))
            said.append(number)

    thread = threading.Thread(target=work, daemon=True)
    with refusing_writes(services, committed_settings):
        thread.start()
        wait_until(lambda: writer._buffered_bytes > 10_000, timeout=PATIENCE)
        assert len(said) < 60
        assert writer._buffered_bytes < 12_000
    thread.join(PATIENCE)
    writer.close()
    assert numbers_of(events_of(held)) == list(range(60))


def test_no_transaction_takes_more_than_its_bytes(hold, make_run, gate, ticks, events_of):
    held = [hold(make_run(status=RunStatus.RUNNING)) for _ in range(12)]
    writers = [EventWriter(one) for one in held]
    sizes = [2 * ALONE_BYTES if n == 5 else ALONE_BYTES * 2 // 3 for n in range(len(held))]
    gate.clear()
    for writer, size in zip(writers, sizes, strict=True):
        writer.emit(say(0, text="x" * size))
        writer.emit(say(1))
    gate.set()
    for writer in writers:
        writer.close()
    assert [numbers_of(events_of(one)) for one in held] == [[0, 1]] * len(held)
    batches = [[batch.size for batch in tick["appends"]] for tick in ticks]
    assert max(map(len, batches)) >= 2
    assert max(map(sum, batches)) <= TICK_BYTES + ALONE_BYTES
    assert max(max(batch, default=0) for batch in batches) <= ALONE_BYTES


def test_an_end_of_many_bytes_is_made_alone(start, ticks, reload):
    answer = {**ANSWER, "value": "x" * (ALONE_BYTES + 1)}
    one = start(lambda *_: Succeeded(answer))
    assert one.join() is Ending.SUCCEEDED
    assert reload(one.run).output == answer
    assert [tick["ends"] for tick in ticks if tick["ends"]] == []


def test_a_run_for_which_there_is_no_thread_breaks_alone(
    hold, make_run, committed_sessions, monkeypatch, events_of
):
    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    held = [hold(make_run(status=RunStatus.RUNNING)) for _ in range(2)]
    broken, whole = map(EventWriter, held)
    whole.emit(say(0))
    wait_until(lambda: numbers_of(events_of(held[1])) == [0], timeout=PATIENCE)
    with unit_of_work(committed_sessions) as session:
        session.execute(select(Run.id).where(Run.id == held[0].id).with_for_update())
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            broken.emit(say(0))
            wait_until(lambda: held[0].token.is_cancelled, timeout=PATIENCE)
        whole.emit(say(1))
        whole.close()
        broken.close()
    assert broken.is_broken
    assert [one.token.reason for one in held] == [StopReason.DATABASE_LOST, None]
    assert numbers_of(events_of(held[1])) == [0, 1]


def test_events_that_make_no_batch_break_their_run_alone(hold, make_run, monkeypatch, events_of):
    held = [hold(make_run(status=RunStatus.RUNNING)) for _ in range(3)]
    writers = [EventWriter(one) for one in held]

    def make(run_id, *given):
        if run_id == held[1].id:
            raise MemoryError
        return Batch(run_id, *given)

    monkeypatch.setattr(event_writer, "Batch", make)
    for writer in writers:
        writer.emit(say(0))
    for writer in writers:
        writer.close()
    assert [one.token.reason for one in held] == [None, StopReason.DATABASE_LOST, None]
    assert [numbers_of(events_of(one)) for one in held] == [[0], [], [0]]


def test_an_executor_that_cannot_be_made_ends_its_own_run_only(resources, make_run, reload):
    def exit_(*_):
        raise SystemExit

    run = make_run()
    with pytest.raises(SystemExit):
        execute(resources, run.id, 1, FakeSlot(), resolve=exit_)
    other = make_run()
    assert execute(resources, other.id, 1, FakeSlot(), resolve=lambda *_: answering()) is Ending.SUCCEEDED
    assert not resources.batches._is_dead


@pytest.mark.parametrize("way", ["cancelled", "expired", "another attempt", "waits for its thread"])
def test_a_run_that_may_not_begin_is_not_claimed(
    resources, make_run, factories, committed_sessions, dispatcher, events_of, logged, way
):
    def refused():
        thread_id, attempt = None, 1
        if way == "waits for its thread":
            with unit_of_work(committed_sessions) as session:
                thread_id = threads.create(session, factories.default_principal(), {"name": "talk"}).id
            make_run(thread_id=thread_id)
        run = make_run(thread_id=thread_id) if thread_id else make_run()
        with unit_of_work(committed_sessions) as session:
            match way:
                case "cancelled":
                    moves.cancel(session, dispatcher, run.id, requested_by="me")
                case "expired":
                    detail = StatusDetail(Reason.INTERNAL_ERROR, "It waited for too long.")
                    moves.break_(session, dispatcher, run.id, attempt=1, detail=detail)
                case "another attempt":
                    attempt = 2
        before = events_of(run)
        with logged("worker.attempt.execution.log") as lines:
            assert execute(resources, run.id, attempt, FakeSlot(), resolve=lambda *_: answering()) is (
                Ending.NOT_CLAIMED
            )
        assert events_of(run) == before
        return [(name, args, masked(kwargs, run)) for name, args, kwargs in lines if name != "debug"]

    together = refused()
    let_die(resources.batches)
    assert together == refused()
    assert [args for _, args, _ in together] == [("run not claimed",)]


def test_a_writer_that_has_ended_takes_no_event(hold, make_run, events_of):
    held = hold(make_run(status=RunStatus.RUNNING))
    writer = EventWriter(held)
    writer.emit(say(0))
    assert writer.end(Trigger.SUCCEED, detail=DETAIL, output=ANSWER)
    with pytest.raises(RunStopped):
        writer.emit(say(1))
    writer.close()
    check_whole(events_of(held), [0])


@pytest.mark.parametrize("is_ended", [True, False])
def test_a_writer_that_has_kept_a_declined_batch_stores_it_first(
    hold, make_run, gate, committed_sessions, events_of, is_ended
):
    """Its token is fired when its work has ended already, so that it makes its end all the same."""
    held = hold(make_run(status=RunStatus.RUNNING))
    writer = EventWriter(held)
    gate.clear()
    with unit_of_work(committed_sessions) as session:
        session.execute(select(Run.id).where(Run.id == held.id).with_for_update())
        writer.emit(say(0))
        wait_until(lambda: writer._under_way is not None, timeout=PATIENCE)
        writer.emit(say(1))
        held.token.cancel(StopReason.CANCELLED)
        gate.set()
        wait_until(lambda: writer._is_kept, timeout=PATIENCE)
    if is_ended:
        assert writer.end(Trigger.SUCCEED, detail=DETAIL, output=ANSWER)
    else:
        writer.close()
    assert numbers_of(events_of(held)) == [0, 1]


def test_an_end_waits_for_what_a_tick_takes_at_that_moment(
    hold, make_run, gate, monkeypatch, committed_sessions, events_of
):
    """The tick declines it, as somebody has locked the run, and it is stored alone."""
    held = hold(make_run(status=RunStatus.RUNNING))
    writer = EventWriter(held)
    writer.emit(say(0))
    wait_until(lambda: numbers_of(events_of(held)) == [0], timeout=PATIENCE)
    settle, take, asks = writer._settle, writer.take, held.resources.batches.end
    settled, asked = threading.Event(), threading.Event()

    def settle_before_a_tick():
        settle()
        settled.set()
        wait_until(lambda: writer._under_way is not None, timeout=PATIENCE)

    def take_late():
        assert settled.wait(PATIENCE)
        return take()

    def ask(*given):
        asked.set()
        return asks(*given)

    monkeypatch.setattr(writer, "_settle", settle_before_a_tick)
    monkeypatch.setattr(writer, "take", take_late)
    monkeypatch.setattr(held.resources.batches, "end", ask)
    gate.clear()
    with ThreadPoolExecutor(1) as threads:
        with unit_of_work(committed_sessions) as session:
            session.execute(select(Run.id).where(Run.id == held.id).with_for_update())
            writer.emit(say(1))
            ending = threads.submit(writer.end, Trigger.SUCCEED, detail=DETAIL, output=ANSWER)
            wait_until(lambda: writer._under_way is not None, timeout=PATIENCE)
            gate.set()
            assert not asked.wait(0.5)
        assert ending.result(PATIENCE)
    check_whole(events_of(held), [0, 1])


def test_threads_that_emit_while_their_run_ends_lose_nothing_that_was_taken(hold, make_run, events_of):
    held = hold(make_run(status=RunStatus.RUNNING))
    writer, taken = EventWriter(held), []

    def work(first):
        for number in range(first, first + 1_000_000):
            try:
                writer.emit(say(number))
            except RunStopped:
                return
            taken.append(number)

    threads = [threading.Thread(target=work, args=(n * 1_000_000,), daemon=True) for n in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(taken) > 300, timeout=PATIENCE)
    assert writer.end(Trigger.SUCCEED, detail=DETAIL, output=ANSWER)
    for thread in threads:
        thread.join(PATIENCE)
    events = events_of(held)
    assert sorted(numbers_of(events)) == sorted(taken)
    assert [one.seq for one in events] == list(range(len(events)))
    assert events[-1].is_last


def test_a_closed_batch_writer_leaves_nothing_behind(hold, make_run, resources, events_of):
    held = hold(make_run(status=RunStatus.RUNNING))
    writer = EventWriter(held)
    writer.emit(say(0))
    wait_until(lambda: numbers_of(events_of(held)) == [0], timeout=PATIENCE)
    writer.emit(say(1))
    resources.batches.close()
    writer.close()
    assert numbers_of(events_of(held)) == [0, 1]
    assert not resources.batches.begin(make_run().id, 1, lambda _run: True)


@pytest.mark.parametrize(
    "setting_overrides",
    [
        {
            "lease_ttl": timedelta(seconds=0.5),
            "heartbeat": timedelta(seconds=0.1),
            "database_outage_grace": timedelta(seconds=0.5),
        }
    ],
    indirect=True,
)
def test_a_tick_without_end_ends_the_process(resources, make_run, monkeypatch):
    """Its connection neither answers nor breaks, and all runs of the process wait for it."""
    vitals, dead = Vitals(), threading.Event()
    vitals.on_death(dead.set)
    monkeypatch.setattr("worker.attempt.lease.vitals", vitals)
    with resources.batches.between_ticks(), resources.leases.hold(make_run().id, 1, CancelToken()):
        assert dead.wait(PATIENCE)
    assert vitals.dead == ("leases",)


KILLED = """
import os, sys, uuid
import shared.db
from shared.settings import get_settings
from tests.support.slots import FakeSlot
from worker.attempt import resources
from worker.attempt.execution import execute
from worker.executors.base import ExecutorEvent

commits = []

def die(session):
    commits.append(session)
    if len(commits) == 2:  # the run has begun with the first one
        os._exit(9)

shared.db.run_after_commit = die

def say(_context, emit):
    emit(ExecutorEvent("Word", {"type": "Word"}))
    _context.token.wait(30)

execute(resources.make(get_settings()), uuid.UUID(sys.argv[1]), 1, FakeSlot(), resolve=lambda *_: say)
"""


def test_a_worker_killed_between_commit_and_publish_has_stored_what_readers_will_read(
    committed_settings, committed_sessions, make_run, resources, dispatcher
):
    run = make_run()
    urls = {
        "RUNYARD_DATABASE_URL": committed_settings.database_url.get_secret_value(),
        "RUNYARD_REDIS_URL": committed_settings.redis_url.get_secret_value(),
    }
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(run.id)],
        cwd=ROOT,
        env={**os.environ, **urls},
        check=False,
        capture_output=True,
        timeout=60,
    )
    assert ended.returncode == 9, ended.stderr

    def types():
        with committed_sessions() as session:
            return [(one.type, one.attempt) for one in log.read(session, run.id, start=0, limit=100).events]

    begun = [("AssistantRunQueued", 0), ("AssistantRunStarting", 1), ("AssistantRunRunning", 1), ("Word", 1)]
    assert types() == begun
    with unit_of_work(committed_sessions) as session:
        moves.requeue(session, dispatcher, run.id, attempt=1, detail=DETAIL)
    execute(resources, run.id, 2, FakeSlot(), resolve=lambda *_: lambda *_: Succeeded(ANSWER, prompt="hello"))
    again = [
        (kind, 2)
        for kind in (
            "AssistantRunStarting",
            "AssistantRunRunning",
            "FinishStructureRunEvent",
            "AssistantRunCompleted",
        )
    ]
    assert types() == [*begun, ("AssistantRunQueued", 1), *again]

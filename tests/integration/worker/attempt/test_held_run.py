"""Writes of an attempt: fenced, and repeated through an outage."""

from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from shared.db import unit_of_work
from shared.errors import LeaseLostError
from shared.events.log import NewEvent, append
from shared.lifecycle import Reason, RunStatus, StatusDetail, Trigger
from shared.models import Origin, Run, RunLogLine
from shared.runs import moves
from worker.attempt import structure_calls
from worker.attempt.log_writer import LogWriter
from worker.attempt.structure_calls import StructureCalls
from worker.cancellation import RunStopped, StopReason
from worker.executors.base import LogLine, LogStream

DETAIL = StatusDetail(Reason.INTERNAL_ERROR, "It broke.")


@pytest.fixture
def setting_overrides():
    return {"database_outage_grace": timedelta(seconds=1)}


@pytest.fixture
def lose_answers(monkeypatch):
    """Lose the answers to the next commits of a held run; each took effect."""

    def lose_answers(count):
        left = [None] * count

        @contextmanager
        def losing(sessions):
            with unit_of_work(sessions) as session:
                yield session
            if left:
                left.pop()
                raise OperationalError("COMMIT", {}, ConnectionError("gone"))

        monkeypatch.setattr("worker.attempt.held_run.unit_of_work", losing)

    return lose_answers


def say(session, run):
    return append(session, run.id, [NewEvent(Origin.ASSISTANT, "Said", {})], attempt=1)


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        ("another attempt", StopReason.LEASE_LOST),
        ("requeued", StopReason.LEASE_LOST),
        ("ended", StopReason.LEASE_LOST),
        ("cancelled", StopReason.CANCELLED),
    ],
)
def test_a_write_to_a_run_that_is_lost_fires_the_token(hold, make_run, lose, way, reason):
    run = make_run(status=RunStatus.RUNNING)
    held = hold(run)
    lose(run, way)
    with pytest.raises(RunStopped) as stopped:
        held.write(lambda session: say(session, run))
    assert held.token.reason is reason
    assert isinstance(stopped.value.__cause__, LeaseLostError)


def test_a_write_that_no_database_takes_for_too_long_fires_the_token(hold, make_run):
    held, tries = hold(make_run(status=RunStatus.RUNNING)), []

    def refuse(_session):
        tries.append(1)
        raise OperationalError("UPDATE", {}, ConnectionError("gone"))

    with pytest.raises(RunStopped):
        held.write(refuse)
    assert held.token.reason is StopReason.DATABASE_LOST
    assert len(tries) > 1


def test_an_error_that_no_repetition_mends_is_raised_at_once(hold, make_run):
    held = hold(make_run(status=RunStatus.RUNNING))
    with pytest.raises(ZeroDivisionError):
        held.write(lambda _session: 1 / 0)
    assert not held.token.is_cancelled


def test_a_move_whose_answer_got_lost_is_known_to_have_been_made(
    hold, make_run, committed_sessions, lose_answers
):
    run = make_run(status=RunStatus.RUNNING)
    held = hold(run)
    lose_answers(1)
    assert held.move(Trigger.BREAK, detail=DETAIL)
    with committed_sessions() as session:
        assert session.get_one(Run, run.id).status is RunStatus.ERROR


@pytest.mark.parametrize("way", ["another attempt", "requeued", "ended", "cancelled"])
def test_a_move_of_a_run_that_is_lost_is_not_made(hold, make_run, lose, way):
    run = make_run(status=RunStatus.RUNNING)
    lose(run, way)
    assert not hold(run).move(Trigger.BREAK, detail=DETAIL)


def test_lines_whose_answer_got_lost_are_stored_once(hold, factories, committed_sessions, lose_answers):
    run = factories.structure_run(status=RunStatus.RUNNING)
    writer = LogWriter(hold(run))
    lose_answers(2)
    for text in ("one", "two", "three"):
        writer.write_log([LogLine(LogStream.STDOUT, text)])
    with committed_sessions() as session:
        stored = session.scalars(
            select(RunLogLine.text).where(RunLogLine.run_id == run.id).order_by(RunLogLine.seq)
        )
        assert list(stored) == ["one", "two", "three"]


def test_a_structure_whose_call_lost_its_answer_runs_once(
    hold, factories, make_assistant, committed_sessions, dispatcher, lose_answers, monkeypatch
):
    monkeypatch.setattr(structure_calls, "STEAL_AFTER", 0.0)
    structure = factories.structure()
    run = factories.run(status=RunStatus.RUNNING, assistant=make_assistant(structure_ids=[structure.id]))

    def cancel(run_id, *_):  # instead of executing it
        with unit_of_work(committed_sessions) as session:
            moves.cancel(session, dispatcher, run_id, requested_by="me")

    lose_answers(1)
    answer = StructureCalls(hold(run), execute=cancel).call(structure.id, ["x"])

    assert answer["value"].startswith("The structure run is CANCELLED")
    with committed_sessions() as session:
        assert session.scalar(select(func.count()).where(Run.parent_run_id == run.id)) == 1


def test_lines_for_a_run_that_another_attempt_has_written_to_fire_the_token(
    hold, factories, committed_sessions, dispatcher
):
    run = factories.structure_run(status=RunStatus.RUNNING)
    first = hold(run)
    writer = LogWriter(first)
    writer.write_log([LogLine(LogStream.STDOUT, "one")])
    with unit_of_work(committed_sessions) as session:
        moves.requeue(session, dispatcher, run.id, attempt=1, detail=DETAIL)
    with unit_of_work(committed_sessions) as session:
        moves.claim(session, dispatcher, run.id, attempt=2, worker="w", lease_ttl=timedelta(seconds=20))
    LogWriter(replace(first, attempt=2)).write_log([LogLine(LogStream.STDOUT, "two")])
    with pytest.raises(RunStopped):
        writer.write_log([LogLine(LogStream.STDOUT, "three")])
    assert first.token.reason is StopReason.LEASE_LOST

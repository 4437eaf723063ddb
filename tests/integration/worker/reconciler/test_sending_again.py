"""A run that waits is sent again when its message is gone, and only then; on a real Redis."""

from datetime import timedelta

import pytest
from redis.exceptions import NoPermissionError
from sqlalchemy import func, update

from shared.celery_app import make_celery
from shared.db import unit_of_work
from shared.dispatch import backlog
from shared.dispatch.dispatcher import Dispatcher, task_id_of
from shared.events.channels import make_redis
from shared.lifecycle import RunStatus
from shared.models import Run
from worker.reconciler.reconciler import Reconciler

QUEUE = "runs"


@pytest.fixture
def redis(committed_settings):
    with make_redis(committed_settings) as client:
        yield client


@pytest.fixture
def sender(committed_settings):
    with make_celery(committed_settings) as celery:
        dispatcher = Dispatcher.make(committed_settings, celery)
        yield dispatcher
        dispatcher.close()


@pytest.fixture
def reconciler(committed_settings, committed_sessions, sender):
    return Reconciler(committed_settings, committed_sessions, sender)


@pytest.fixture
def make_waiting(committed_sessions, make_run, sender):
    """Make runs that were sent long ago, and wait."""

    def make_waiting(count):
        runs = [make_run() for _ in range(count)]
        for run in runs:
            sender.send(run.id, attempt=1)
        long_ago(committed_sessions)
        return runs

    return make_waiting


def long_ago(sessions):
    with unit_of_work(sessions) as session:
        session.execute(update(Run).values(dispatched_at=func.now() - timedelta(hours=1)))


def test_runs_behind_others_are_not_sent_again_however_long_they_wait(
    reconciler, make_waiting, redis, committed_sessions
):
    make_waiting(10)
    for _ in range(5):
        assert reconciler.round() == 0
        long_ago(committed_sessions)
    assert redis.llen(QUEUE) == 10


def test_what_an_emptied_redis_held_is_sent_again_though_later_messages_wait(
    reconciler, make_waiting, redis, sender
):
    lost = make_waiting(3)
    redis.flushdb()
    there = make_waiting(2)
    assert reconciler.round() == 3
    sender._tasks.close()
    assert sender.waiting_tasks() == {task_id_of(run.id, 1) for run in [*lost, *there]}
    assert redis.llen(QUEUE) == 5


def test_a_message_of_an_earlier_attempt_stands_for_no_later_one(
    reconciler, make_waiting, sender, committed_sessions
):
    (run,) = make_waiting(1)
    with unit_of_work(committed_sessions) as session:
        session.execute(update(Run).where(Run.id == run.id).values(attempt=1))
    assert reconciler.round() == 1
    sender._tasks.close()
    assert sender.waiting_tasks() == {task_id_of(run.id, 1), task_id_of(run.id, 2)}


def test_what_is_no_message_keeps_no_run_waiting(reconciler, make_waiting, redis):
    make_waiting(1)
    redis.delete(QUEUE)
    for garbage in (
        b"{bad",
        b"42",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b'{"headers": {"id": 7}}',
        b'{"headers": []}',
        b'{"headers": {"id": "\\u0000"}}',
        b'{"headers": {"id": "\\uD83D\\uDE00 of another program"}}',
    ):
        redis.lpush(QUEUE, garbage)
    assert reconciler.round() == 1


def test_without_leave_to_read_the_queues_runs_are_sent_again_ever_more_rarely(
    reconciler, make_waiting, sender, monkeypatch
):
    def refused(*_):
        raise NoPermissionError("lrange")

    monkeypatch.setattr(backlog, "task_ids", refused)
    make_waiting(1)
    assert reconciler.round() == 1


def test_a_run_that_a_worker_has_is_not_sent(reconciler, make_run):
    make_run(status=RunStatus.RUNNING)
    assert reconciler.round() == 0

"""The keeper of leases, with a PostgreSQL that takes questions and answers none."""

import threading
import time
import uuid
from datetime import timedelta

import pytest
from psycopg.errors import ReadOnlySqlTransaction
from sqlalchemy.exc import InternalError, OperationalError

from shared.processes.vitals import Vitals
from shared.settings import Settings
from tests.support.waiting import wait_until
from worker.attempt import lease
from worker.attempt.lease import LeaseKeeper
from worker.cancellation import CancelToken, StopReason

GRACE = 0.2  # seconds


@pytest.fixture
def asked():
    return threading.Event()


@pytest.fixture
def keeper_of(monkeypatch):
    """Makes keepers, each over something in the place of its sessions."""
    made = []
    monkeypatch.setattr(lease, "RETRY_INTERVAL", 0.05)

    def make(sessions, grace=GRACE):
        settings = Settings(
            database_url="postgresql://nowhere/none",
            redis_url="redis://nowhere",
            lease_ttl=timedelta(seconds=0.15),
            heartbeat=timedelta(seconds=0.05),
            database_outage_grace=timedelta(seconds=grace),
        )
        made.append(LeaseKeeper(sessions, settings))
        return made[-1]

    yield make
    for keeper in made:
        keeper.close()


@pytest.fixture
def hanging_keeper(keeper_of, asked):
    """Makes a keeper whose database hangs."""
    answer = threading.Event()

    def hang():
        asked.set()
        answer.wait()
        raise OperationalError("SELECT 1", {}, ConnectionError("gone"))

    yield lambda grace: keeper_of(hang, grace)
    answer.set()


def test_a_run_is_timed_out_while_postgresql_hangs(hanging_keeper, asked):
    keeper = hanging_keeper(60)
    run_id, token = uuid.uuid4(), CancelToken()
    with keeper.hold(run_id, 1, token):
        assert asked.wait(30)
        keeper.set_deadline(run_id, 0.05)
        assert token.wait(30)
    assert token.reason is StopReason.TIMED_OUT


def test_a_run_is_given_up_after_the_grace_while_postgresql_hangs(hanging_keeper, asked):
    keeper = hanging_keeper(GRACE)
    token, started = CancelToken(), time.monotonic()
    with keeper.hold(uuid.uuid4(), 1, token):
        assert asked.wait(30)
        wait_until(lambda: token.is_cancelled, timeout=60)
    assert token.reason is StopReason.DATABASE_LOST
    assert time.monotonic() - started >= GRACE


def test_a_run_that_is_held_later_is_watched_too(hanging_keeper):
    keeper = hanging_keeper(GRACE)
    first, second = CancelToken(), CancelToken()
    run_id = uuid.uuid4()
    with keeper.hold(uuid.uuid4(), 1, first):
        assert first.wait(30)
        keeper._give_up_after = 60  # or a busy machine takes longer over the next two lines
        with keeper.hold(run_id, 1, second):
            keeper.set_deadline(run_id, 0.05)
            assert second.wait(30)
    assert second.reason is StopReason.TIMED_OUT


@pytest.mark.parametrize(
    "error",
    [
        InternalError("UPDATE", {}, ReadOnlySqlTransaction("read-only")),
        RuntimeError("nobody has thought of this"),
    ],
)
def test_a_renewal_that_fails_of_anything_is_tried_again(keeper_of, error):
    tries, again = [], threading.Event()

    def fail():
        tries.append(1)
        if len(tries) == 3:
            again.set()
        raise error

    keeper = keeper_of(fail)
    with keeper.hold(uuid.uuid4(), 1, CancelToken()):
        assert again.wait(30)


@pytest.mark.parametrize(("name", "work"), [("leases", "_beat"), ("deadlines", "_give_up")])
def test_a_keeper_that_loses_a_thread_has_the_process_replaced(keeper_of, monkeypatch, name, work):
    vitals, told = Vitals(), threading.Event()
    vitals.on_death(told.set)
    monkeypatch.setattr("worker.attempt.lease.vitals", vitals)

    def die():
        raise SystemExit

    keeper = keeper_of(None)
    monkeypatch.setattr(keeper, "_beat", lambda: True)
    monkeypatch.setattr(keeper, work, die)
    with keeper.hold(uuid.uuid4(), 1, CancelToken()):
        assert told.wait(30)
    assert vitals.dead == (name,)

"""The keeper of leases, with a PostgreSQL that takes questions and answers none."""

import threading
import time
import uuid
from datetime import timedelta

import pytest
from sqlalchemy.exc import OperationalError

from shared.settings import Settings
from tests.support.waiting import wait_until
from worker.cancellation import CancelToken, StopReason
from worker.lease import LeaseKeeper

GRACE = 0.6  # seconds


@pytest.fixture
def asked():
    return threading.Event()


@pytest.fixture
def keeper(asked):
    answer = threading.Event()

    def hang():
        asked.set()
        answer.wait()
        raise OperationalError("SELECT 1", {}, ConnectionError("gone"))

    settings = Settings(
        database_url="postgresql://nowhere/none",
        redis_url="redis://nowhere",
        lease_ttl=timedelta(seconds=0.3),
        heartbeat=timedelta(seconds=0.05),
        database_outage_grace=timedelta(seconds=GRACE),
    )
    keeper = LeaseKeeper(hang, settings)
    yield keeper
    answer.set()
    keeper.close()


def test_a_run_is_timed_out_while_postgresql_hangs(keeper, asked):
    run_id, token = uuid.uuid4(), CancelToken()
    with keeper.hold(run_id, 1, token):
        assert asked.wait(5)
        keeper.set_deadline(run_id, 0.05)
        assert token.wait(GRACE / 2)
    assert token.reason is StopReason.TIMED_OUT


def test_a_run_is_given_up_after_the_grace_while_postgresql_hangs(keeper, asked):
    token, started = CancelToken(), time.monotonic()
    with keeper.hold(uuid.uuid4(), 1, token):
        assert asked.wait(5)
        wait_until(lambda: token.is_cancelled, timeout=5)
    assert token.reason is StopReason.DATABASE_LOST
    assert time.monotonic() - started >= GRACE


def test_a_run_that_is_held_later_is_watched_too(keeper):
    first, second = CancelToken(), CancelToken()
    run_id = uuid.uuid4()
    with keeper.hold(uuid.uuid4(), 1, first):
        assert first.wait(5)
        with keeper.hold(run_id, 1, second):
            keeper.set_deadline(run_id, 0.05)
            assert second.wait(GRACE / 2)
    assert second.reason is StopReason.TIMED_OUT

"""`GET /assistant-runs/{id}?wait=`: answered when the run has ended, without a read per caller."""

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import httpx2
import pytest

from shared.db import unit_of_work
from shared.events import channels
from shared.lifecycle import TERMINAL, RunStatus, Trigger
from shared.runs import transitions
from tests.support.listening import listen
from tests.support.waiting import wait_until

PATIENCE = 30  # seconds asked for
AT_ONCE = 15.0  # seconds, on a machine however busy; half of the least that anything here waits for
REREAD = 0.4  # seconds
OUTPUT = {"output": {"type": "TextArtifact", "value": "Hi"}}


@pytest.fixture
def setting_overrides(request):
    """Rarely enough that a read by the clock explains nothing here, unless a test is about it."""
    return {"stream_reread": timedelta(seconds=getattr(request, "param", 300))}


@pytest.fixture
def end(committed_sessions, committed_settings):
    """End a RUNNING run, and publish that, or let the word be lost."""

    def end(run, *, is_published=True):
        with unit_of_work(committed_sessions) as session:
            events = transitions.apply(session, run.id, Trigger.SUCCEED, values=OUTPUT).events
        if is_published:
            with channels.make_redis(committed_settings) as client:
                channels.publish(client, events)

    return end


@pytest.fixture
def waiting(served):
    """Start to wait for runs in threads; returns the futures of the answers once all are waiting."""
    pool = ThreadPoolExecutor(60)

    def begin(runs, *, seconds=PATIENCE):
        before = served.resources.waiter.callers
        futures = [pool.submit(get, served, run.id, seconds) for run in runs]
        wait_until(lambda: served.resources.waiter.callers == before + len(futures), what="the callers")
        return futures

    yield begin
    served.server.should_exit = True
    pool.shutdown()


def get(served, run_id, wait, **headers):
    return served.client.get(
        f"/api/assistant-runs/{run_id}", params={"wait": str(wait)}, headers=headers, timeout=60
    )


def settled(served):
    """Until what the callers began with has been read."""
    wait_until(lambda: not served.resources.run_watch._doubted)


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_a_run_that_has_ended_is_answered_at_once(served, make_run, status):
    run = make_run(status=status)
    begun = time.monotonic()
    assert get(served, run.id, PATIENCE).json()["status"] == status
    assert time.monotonic() - begun < AT_ONCE


def test_the_end_is_answered_when_it_comes(served, waiting, make_run, end):
    run = make_run(status=RunStatus.RUNNING)
    answers = waiting([run, run])
    settled(served)
    end(run)
    ended = time.monotonic()
    assert [answer.result().json()["status"] for answer in answers] == ["SUCCEEDED", "SUCCEEDED"]
    assert time.monotonic() - ended < AT_ONCE
    assert served.resources.waiter.callers == 0


def test_a_run_that_goes_on_is_answered_when_the_time_is_up(served, make_run):
    run = make_run(status=RunStatus.RUNNING)
    begun = time.monotonic()
    answer = get(served, run.id, 0.5)
    assert (answer.status_code, answer.json()["status"]) == (200, "RUNNING")
    assert 0.5 <= time.monotonic() - begun < 0.5 + AT_ONCE


def test_nobody_waits_longer_than_a_proxy_does(served, make_run, monkeypatch):
    asked = []

    async def until_ended(_run_id, seconds, **_):
        asked.append(seconds)

    monkeypatch.setattr(served.resources.waiter, "until_ended", until_ended)
    run = make_run(status=RunStatus.RUNNING)
    for wait in ("49.5", "50", "60", "3600"):
        assert get(served, run.id, wait).json()["status"] == "RUNNING"
    assert asked == [49.5, 50, 50, 50]


@pytest.mark.parametrize("setting_overrides", [REREAD], indirect=True)
def test_an_end_of_which_no_word_came_is_found_by_reading(waiting, make_run, end):
    run = make_run(status=RunStatus.RUNNING)
    (answer,) = waiting([run])
    end(run, is_published=False)
    assert answer.result().json()["status"] == "SUCCEEDED"


@pytest.mark.parametrize("setting_overrides", [REREAD], indirect=True)
def test_it_works_without_redis(served_without_redis, make_run, end):
    run = make_run(status=RunStatus.RUNNING)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(get, served_without_redis, run.id, PATIENCE)
        wait_until(lambda: served_without_redis.resources.waiter.callers)
        end(run, is_published=False)
        assert answer.result(10).json()["status"] == "SUCCEEDED"


@pytest.mark.parametrize("setting_overrides", [REREAD], indirect=True)
def test_many_callers_cost_no_more_reads_than_one_and_hold_no_connection(served, waiting, make_run, end):
    runs = [make_run(status=RunStatus.RUNNING) for _ in range(10)]
    answers = waiting(runs * 5)
    settled(served)
    engine = served.resources.upkeep_engine
    assert served.resources.engine.pool.checkedout() == 0
    assert engine.pool.checkedout() <= 1  # the one that reads for all of them
    statements = []
    listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    begun = time.monotonic()
    wait_until(lambda: len([one for one in statements if "runs" in one]) >= 3, what="three rounds")
    periods = (time.monotonic() - begun) / REREAD
    assert len([one for one in statements if "runs" in one]) <= periods + 2
    for run in runs:
        end(run)
    assert {answer.result().json()["status"] for answer in answers} == {"SUCCEEDED"}


def test_a_caller_who_leaves_is_waited_for_by_nobody(served, make_run):
    run = make_run(status=RunStatus.RUNNING)
    with pytest.raises(httpx2.ReadTimeout):
        served.client.get(f"/api/assistant-runs/{run.id}", params={"wait": "30"}, timeout=0.5)
    wait_until(lambda: served.resources.waiter.callers == 0, what="the caller to be let go")
    wait_until(lambda: not served.resources.subscriber.channels, what="the listener to be let go")


def test_a_shutdown_answers_those_who_wait(served, waiting, make_run):
    (answer,) = waiting([make_run(status=RunStatus.RUNNING)])
    served.server.config.timeout_graceful_shutdown = PATIENCE
    begun = time.monotonic()
    served.server.should_exit = True
    assert answer.result().json()["status"] == "RUNNING"
    assert time.monotonic() - begun < AT_ONCE


@pytest.mark.parametrize("wait", ["-1", "soon", "nan", "inf", "1e3", "1,5"])
def test_what_is_no_number_of_seconds_is_refused(served, make_run, wait):
    answer = get(served, make_run(status=RunStatus.RUNNING).id, wait)
    assert answer.status_code == 400
    assert "seconds" in answer.text


@pytest.mark.parametrize("wait", ["", "0", "0.0"])
def test_nothing_to_wait_is_an_answer_at_once(served, make_run, wait):
    assert get(served, make_run(status=RunStatus.RUNNING).id, wait).json()["status"] == "RUNNING"


def test_nobody_waits_for_what_is_not_theirs(served, make_run, as_stranger_on_socket):
    run = make_run(status=RunStatus.RUNNING)
    begun = time.monotonic()
    for run_id in (run.id, uuid.uuid4()):
        assert get(served, run_id, PATIENCE, **as_stranger_on_socket).status_code == 404
    assert time.monotonic() - begun < AT_ONCE


@pytest.fixture
def as_stranger_on_socket(served, factories):
    _, secret = factories.principal_and_secret()
    return {"Authorization": f"Bearer {secret}"}

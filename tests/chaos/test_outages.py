"""Servers and the reconciler that die, hang and come back, with runs under way."""

import time
from collections.abc import Callable

import psutil
import psycopg
import pytest
import redis

from tests.support.faults import family, frozen, go_on_for, kill
from tests.support.invariants import (
    await_database,
    await_words,
    check_runs,
    holder_of,
    read_events,
    read_row,
)
from tests.support.llm_stub import stalling_model
from tests.support.stack import Stack
from tests.support.waiting import wait_until
from tests.support.workers import Worker

pytestmark = [pytest.mark.full_length, pytest.mark.timeout(300)]

LONG = 8.0  # seconds of an outage: beyond two leases, and beyond every timeout of a socket
SOON = 10.0  # seconds in which a worker is back at work


def start_long_run(stack: Stack, database_url: str, *, words: int = 60) -> str:
    """A run of 6 s or more, whose model has begun to answer."""
    return start_run(stack, database_url, f"openai/words-{words}-{max(50, 6000 // words)}")


def start_run(stack: Stack, database_url: str, model: str) -> str:
    """A run whose model has begun to answer."""
    run_id = stack.create_run(args=["Hi"], model=model)
    await_words(database_url, run_id)
    return run_id


def check_unharmed(stack: Stack, database_url: str, run_id: str, *, words: int = 60) -> None:
    """Fail unless the run succeeded in its first attempt, and its log has all that the model said."""
    run = stack.wait_for(run_id, timeout=60)
    assert run["status"] == "SUCCEEDED", run["status_detail"]
    row = read_row(database_url, run_id)
    assert (row["attempt"], row["losses"]) == (1, 0)
    chunks = [payload["token"] for kind, payload in read_events(database_url, run_id) if "Chunk" in kind]
    assert "".join(chunks).split() == [f"word{n}" for n in range(words)]
    check_runs(database_url, [run_id])


def check_takes_new_runs(stack: Stack, database_url: str) -> None:
    """Fail unless a new run is executed soon."""
    run_id = stack.create_run(args=["Hi"])
    assert stack.wait_for(run_id, timeout=SOON)["status"] == "SUCCEEDED"
    check_runs(database_url, [run_id])


def test_a_redis_that_is_killed_and_emptied_loses_no_run(
    broken_stack: Stack, workers: Worker, database_url: str
) -> None:
    """Promise 1: also the runs whose messages it held."""
    stack = broken_stack
    running = start_long_run(stack, database_url)
    with frozen([workers.supervisor, *workers.processes]):
        run_ids = [stack.create_run(args=["Hi"]) for _ in range(10)]
        with redis.Redis.from_url(stack.redis_admin_url) as client:
            wait_until(lambda: client.llen("runs") > 0, what="messages to wait")
            client.flushall()
        kill(psutil.Process(stack.file["pids"]["redis"]))
    for run_id in run_ids:
        assert stack.wait_for(run_id, timeout=60)["status"] == "SUCCEEDED"
    check_runs(database_url, run_ids)
    check_unharmed(stack, database_url, running)
    check_takes_new_runs(stack, database_url)


def test_a_redis_that_loses_its_data_under_connected_workers_loses_no_run(
    broken_stack: Stack, workers: Worker, database_url: str
) -> None:
    stack = broken_stack
    with redis.Redis.from_url(stack.redis_admin_url) as client:
        client.flushall()
    check_takes_new_runs(stack, database_url)


def test_a_redis_that_hangs_holds_up_no_run_and_its_worker_comes_back(
    broken_stack: Stack, workers: Worker, database_url: str
) -> None:
    """Longer than every timeout of a socket, so that 30 s would show nothing else."""
    stack = broken_stack
    running = start_long_run(stack, database_url)
    with frozen([psutil.Process(stack.file["pids"]["redis"])]):
        accepted = [stack.create_run(args=["Hi"]) for _ in range(3)]
        check_unharmed(stack, database_url, running)
        go_on_for(LONG - 3)
    for run_id in accepted:
        assert stack.wait_for(run_id, timeout=60)["status"] == "SUCCEEDED"
    check_runs(database_url, accepted)
    check_takes_new_runs(stack, database_url)


def kill_postmaster(stack: Stack) -> None:
    kill(psutil.Process(stack.file["pids"]["postgres"]))


def kill_backend(stack: Stack) -> None:
    """One connection's process dies; PostgreSQL then ends all of them, and recovers."""
    with psycopg.connect(stack.file["database_url"]) as connection:
        kill(psutil.Process(connection.info.backend_pid))


@pytest.mark.parametrize("crash", [kill_postmaster, kill_backend])
def test_a_crash_of_postgresql_fails_no_run(
    broken_stack: Stack, workers: Worker, database_url: str, crash: Callable[[Stack], None]
) -> None:
    stack = broken_stack
    running = start_long_run(stack, database_url)
    crash(stack)
    await_database(database_url)
    wait_until(lambda: stack.client.get("/health/ready").status_code == 200, timeout=60, what="the API")
    check_unharmed(stack, database_url, running)
    check_takes_new_runs(stack, database_url)


def test_an_unreachable_postgresql_fails_no_run(
    broken_stack: Stack, workers: Worker, database_url: str
) -> None:
    """Nobody can renew a lease meanwhile: by its end, all of them have lapsed."""
    stack = broken_stack
    running = start_long_run(stack, database_url, words=200)
    with frozen(family(stack.file["pids"]["postgres"])):
        go_on_for(LONG)
    await_database(database_url)
    check_unharmed(stack, database_url, running, words=200)
    check_takes_new_runs(stack, database_url)


def test_a_request_while_postgresql_hangs_has_an_answer(broken_stack: Stack, workers: Worker) -> None:
    stack = broken_stack
    assistant_id = stack.create_assistant()
    path = f"/api/assistants/{assistant_id}/runs"
    with frozen(family(stack.file["pids"]["postgres"])):
        for ask in (lambda: stack.client.post(path, json={}), lambda: stack.client.get(path)):
            begun = time.monotonic()
            answer = ask()
            assert answer.status_code == 503, answer.text
            assert int(answer.headers["Retry-After"]) > 0
            assert time.monotonic() - begun < 30  # of 60 until the caller would give up
    run_id = wait_until(lambda: created(stack, assistant_id), what="PostgreSQL to be back")
    assert stack.wait_for(run_id)["status"] == "SUCCEEDED"


def created(stack: Stack, assistant_id: str) -> str | None:
    """Ask for a run; a connection that hung may have to be replaced first."""
    answer = stack.client.post(f"/api/assistants/{assistant_id}/runs", json={"args": ["Hi"]})
    return answer.json()["assistant_run_id"] if answer.is_success else None


def test_without_a_reconciler_runs_go_on_and_what_is_lost_waits_for_it(
    broken_stack: Stack, workers: Worker, database_url: str
) -> None:
    stack = broken_stack
    lost = start_run(stack, database_url, stalling_model(20))
    with frozen([psutil.Process(stack.process.pid)]):  # who would start it again
        kill(psutil.Process(stack.file["pids"]["reconciler"]))
        kill(holder_of(database_url, lost))
        check_takes_new_runs(stack, database_url)
        wait_until(lambda: read_row(database_url, lost)["lease"] < 0, what="the lease to lapse")
        assert read_row(database_url, lost)["status"] == "RUNNING"
    assert stack.wait_for(lost, timeout=60)["status"] == "SUCCEEDED"
    assert read_row(database_url, lost)["attempt"] == 2
    check_runs(database_url, [lost])


def test_a_worker_redis_and_the_reconciler_may_die_together(
    broken_stack: Stack, workers: Worker, database_url: str
) -> None:
    stack = broken_stack
    running = [start_long_run(stack, database_url, words=40) for _ in range(4)]
    pids = stack.file["pids"]
    dying = [*workers.processes, *(psutil.Process(pids[name]) for name in ("redis", "reconciler"))]
    kill(*dying)
    started = time.monotonic()
    accepted = [stack.create_run(args=["Hi"]) for _ in range(4)]
    assert time.monotonic() - started < 30  # a broker that is away is waited for for no answer
    run_ids = [*running, *accepted]
    for run_id in run_ids:
        assert stack.wait_for(run_id, timeout=60)["status"] == "SUCCEEDED"
    check_runs(database_url, run_ids)

"""A task revoked by Flower or `celery control` cancels its run, as the API would."""

import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from shared.db import Sessions, unit_of_work
from shared.dispatch.dispatcher import EXECUTE_RUN, task_id_of
from shared.lifecycle import RunStatus, Trigger
from shared.models import Run
from shared.runs import moves, transitions
from shared.settings import Settings
from tests.support.dispatching import RecordingDispatcher
from tests.support.pool_bench import PoolBench, eventually
from worker.attempt import resources as worker_resources
from worker.attempt.revocation import REQUESTED_BY, cancel_revoked
from worker.process import signals

WORDS = "word " * 600
POOLS = ["threads", pytest.param("prefork", marks=pytest.mark.full_length)]


@pytest.fixture
def bench(committed_settings: Settings, tmp_path: Path) -> Generator[PoolBench]:
    bench = PoolBench(committed_settings, tmp_path, RUNYARD_ECHO_WORDS_PER_SECOND="10")
    yield bench
    bench.close()


@pytest.fixture
def revoke(sessions: Sessions, dispatcher: RecordingDispatcher) -> Callable[..., bool]:
    def revoke(run: Run, attempt: int) -> bool:
        with unit_of_work(sessions) as session:
            return cancel_revoked(session, dispatcher, run.id, attempt=attempt)  # type: ignore[arg-type]

    return revoke


def found(sessions: Sessions, run: Run) -> Run:
    with sessions() as session:
        row = session.get(Run, run.id)
        assert row is not None
        return row


def requeue(sessions: Sessions, run: Run) -> None:
    with unit_of_work(sessions) as session:
        transitions.apply(session, run.id, Trigger.REQUEUE, attempt=1)


def claim(sessions: Sessions, run: Run, attempt: int) -> None:
    with unit_of_work(sessions) as session:
        moves.claim(
            session,
            RecordingDispatcher(),
            run.id,
            attempt=attempt,
            worker="w",
            lease_ttl=timedelta(seconds=20),
        )


def test_run_that_waits_for_the_attempt_is_cancelled(
    sessions: Sessions, make_run: Callable[..., Run], revoke: Callable[..., bool], dispatcher: Any
) -> None:
    run = make_run()
    assert revoke(run, attempt=1)
    row = found(sessions, run)
    assert row.status is RunStatus.CANCELLED
    assert row.status_detail is not None
    assert row.status_detail["requested_by"] == REQUESTED_BY
    assert row.status_detail["stopped_how"] == "never_started"
    assert dispatcher.announced
    assert dispatcher.revoked == []


@pytest.mark.parametrize("status", [RunStatus.STARTING, RunStatus.RUNNING])
def test_run_that_is_in_the_attempt_is_cancelled(
    sessions: Sessions, make_run: Callable[..., Run], revoke: Callable[..., bool], status: RunStatus
) -> None:
    run = make_run(status=status)
    assert revoke(run, attempt=1)
    assert found(sessions, run).status is RunStatus.CANCELLED
    assert not revoke(run, attempt=1)  # again makes no difference


def test_stale_revoke_never_cancels_a_later_attempt(
    sessions: Sessions, make_run: Callable[..., Run], revoke: Callable[..., bool]
) -> None:
    run = make_run(status=RunStatus.RUNNING)
    requeue(sessions, run)
    assert not revoke(run, attempt=1)
    claim(sessions, run, attempt=2)
    assert not revoke(run, attempt=1)
    assert found(sessions, run).status is RunStatus.STARTING
    assert revoke(run, attempt=2)


@pytest.mark.parametrize("status", [RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.ERROR])
def test_ended_run_stays_as_it_is(
    sessions: Sessions, make_run: Callable[..., Run], revoke: Callable[..., bool], status: RunStatus
) -> None:
    run = make_run(status=status)
    assert not revoke(run, attempt=1)
    assert found(sessions, run).status is status


def test_unknown_run_is_nothing_to_cancel(revoke: Callable[..., bool]) -> None:
    assert not revoke(Run(id=uuid.uuid4()), attempt=1)


@pytest.mark.parametrize("grace", [60.0, 0.0])
def test_an_outage_delays_a_cancel_and_leaves_no_connection_to_children(
    committed_settings: Settings,
    committed_sessions: Sessions,
    make_run: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    grace: float,
) -> None:
    run = make_run()
    changed = {"database_outage_grace": timedelta(seconds=grace)}
    own = worker_resources.make(committed_settings.model_copy(update=changed))
    errors = [OperationalError("COMMIT", {}, ConnectionError("away")) for _ in range(2)]

    @contextmanager
    def failing(of_worker: Sessions) -> Generator[Session]:
        with unit_of_work(of_worker) as session:
            yield session
            if errors:
                raise errors.pop()

    monkeypatch.setattr(signals, "unit_of_work", failing)
    monkeypatch.setattr(worker_resources, "get", lambda: own)
    signals._forking.set()
    try:
        signals._cancel(run.id, 1)
        assert own.engine.pool.checkedin() == 0  # type: ignore[attr-defined]  # of a pool with a queue
    finally:
        signals._forking.clear()
        own.close()
    expected = RunStatus.CANCELLED if grace else RunStatus.QUEUED
    assert found(committed_sessions, run).status is expected


def send(bench: PoolBench, run: Run) -> str:
    task_id = task_id_of(run.id, 1)
    bench.app.send_task(EXECUTE_RUN, kwargs={"run_id": str(run.id), "attempt": 1}, task_id=task_id)
    return task_id


def status_is(sessions: Sessions, run: Run, status: RunStatus) -> None:
    eventually(lambda: found(sessions, run).status is status, f"the run to be {status}")


@pytest.mark.parametrize("pool", POOLS)
def test_revoked_message_is_discarded_and_its_run_cancelled(
    bench: PoolBench, committed_sessions: Sessions, make_run: Callable[..., Run], pool: str
) -> None:
    run = make_run(input=WORDS)
    with bench.worker(pool=pool, concurrency=1):
        first = bench.start_task("wait", 60)
        task_id = send(bench, run)
        bench.app.control.revoke(task_id)
        bench.app.control.inspect(timeout=30, limit=1).ping()  # answered after the revoke was read
        bench.terminate(first.id)
        status_is(committed_sessions, run, RunStatus.CANCELLED)
    detail = found(committed_sessions, run).status_detail
    assert detail is not None
    assert detail["stopped_how"] == "never_started"


@pytest.mark.parametrize("pool", POOLS)
def test_terminated_task_ends_its_run(
    bench: PoolBench, committed_sessions: Sessions, make_run: Callable[..., Run], pool: str
) -> None:
    run = make_run(input=WORDS)
    with bench.worker(pool=pool, concurrency=1):
        task_id = send(bench, run)
        status_is(committed_sessions, run, RunStatus.RUNNING)
        bench.app.control.terminate(task_id)
        status_is(committed_sessions, run, RunStatus.CANCELLED)
        eventually(lambda: not found(committed_sessions, run).is_stopping, "the receipt")
    detail = found(committed_sessions, run).status_detail
    assert detail is not None
    assert detail["stopped_how"] in {"cooperative", "interrupted"}


@pytest.mark.parametrize("pool", POOLS)
def test_drained_run_is_given_back_for_another_attempt(
    bench: PoolBench, committed_sessions: Sessions, make_run: Callable[..., Run], pool: str
) -> None:
    run = make_run(input=WORDS)
    with bench.worker(pool=pool, concurrency=1) as process:
        send(bench, run)
        status_is(committed_sessions, run, RunStatus.RUNNING)
        process.terminate()
        assert process.wait(60) == 0
    row = found(committed_sessions, run)
    assert row.status is RunStatus.QUEUED
    assert (row.attempt, row.losses) == (1, 0)


@pytest.mark.parametrize("pool", POOLS)
def test_one_command_ends_what_runs_and_what_waits(
    bench: PoolBench, committed_sessions: Sessions, make_run: Callable[..., Run], pool: str
) -> None:
    """As the API revokes runs that are cancelled together."""
    running, waiting = make_run(input=WORDS), make_run(input=WORDS)
    with bench.worker(pool=pool, concurrency=1):
        first = send(bench, running)
        status_is(committed_sessions, running, RunStatus.RUNNING)
        second = send(bench, waiting)
        bench.app.control.revoke([first, second], terminate=True)
        for run in (running, waiting):
            status_is(committed_sessions, run, RunStatus.CANCELLED)

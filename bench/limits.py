"""What this machine could do at the most: the same servers, without the product.

Each is measured beside the product's figure, in the same session.
"""

import functools
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import psycopg
from celery import Celery
from pydantic import SecretStr

from cli.local.processes import child
from shared.celery_app import configuration
from shared.settings import Settings
from tests.support.waiting import wait_until

CALLS: Final = 1200
CONNECTIONS: Final = 8
PAYLOAD: Final = '{"type": "BenchEvent"}'
QUEUE: Final = "bench"
UNREAD_QUEUE: Final = "bench-unread"
TASK: Final = "bench.noop"
WORKER_TIMEOUT: Final = 30.0  # seconds until the plain worker has done all
STOP_TIMEOUT: Final = 5.0  # seconds
GRIPTAPE_TIMEOUT: Final = 40.0  # seconds
POLL_INTERVAL: Final = 0.02  # seconds

INSERT_RUN: Final = """
    INSERT INTO runs (id, organization_id, assistant_id, created_by, input, args, model, status,
                      status_detail, output, attempt, event_count, queued_at, started_at, completed_at)
    SELECT %s, organization_id, assistant_id, created_by, %s, args, model, 'SUCCEEDED', status_detail, output,
           1, 1, now(), now(), now()
    FROM runs WHERE id = %s
"""
INSERT_EVENT: Final = """
    INSERT INTO run_events (run_id, seq, event_id, origin, type, payload, timestamp)
    VALUES (%s, 0, %s, 'SYSTEM', 'BenchEvent', %s, 0)
"""


def insert_and_commit(database_url: str, like: uuid.UUID, connections: int = CONNECTIONS) -> float:
    """Transactions a second that store a row of a run and one of an event, pipelined and prepared.

    Args:
        like: a run that has ended, whose assistant and organization the rows get.
    """

    def work() -> None:
        with psycopg.connect(database_url) as connection:
            for _ in range(CALLS // connections):
                run_id = uuid.uuid4()
                with connection.pipeline():
                    connection.execute(INSERT_RUN, (run_id, "Hi", like), prepare=True)
                    connection.execute(INSERT_EVENT, (run_id, uuid.uuid4(), PAYLOAD), prepare=True)
                    connection.commit()

    start = time.perf_counter()
    with ThreadPoolExecutor(connections) as threads:
        working = [threads.submit(work) for _ in range(connections)]
    for one in working:
        one.result()
    return CALLS / (time.perf_counter() - start)


def celery_app(database_url: str, redis_url: str, queue: str = QUEUE) -> Celery:
    """A Celery application with the product's settings and a queue of its own."""
    app = Celery("bench", set_as_current=False)
    app.conf.update(
        configuration(Settings(database_url=SecretStr(database_url), redis_url=SecretStr(redis_url)))
    )
    app.conf.task_default_queue = queue
    return app


def send_tasks(database_url: str, redis_url: str) -> float:
    """Messages a second that one thread of one process sends."""
    app = celery_app(database_url, redis_url, UNREAD_QUEUE)
    start = time.perf_counter()
    send(app, UNREAD_QUEUE)
    took = time.perf_counter() - start
    app.control.purge()
    app.close()
    return CALLS / took


def send(app: Celery, queue: str) -> None:
    """Send a round's messages."""
    with app.producer_pool.acquire(block=True) as producer:
        for _ in range(CALLS):
            app.send_task(TASK, queue=queue, producer=producer)


@contextmanager
def plain_worker(
    database_url: str, redis_url: str, directory: Path, concurrency: int
) -> Generator[Callable[[], float]]:
    """Start a worker process without the product: same pool, events on. Yield what measures it.

    That is a function: tasks a second that the worker does, none of which has anything to do.
    """
    told = directory / "plain_celery"
    environment: Mapping[str, str] = {
        **os.environ,
        "RUNYARD_DATABASE_URL": database_url,
        "RUNYARD_REDIS_URL": redis_url,
        "BENCH_TASKS": str(CALLS),
        "BENCH_FILE": str(told),
    }
    command = [sys.executable, "-m", "celery", "-A", "bench.plain_worker", "worker", "-P", "threads"]
    options = ["-c", str(concurrency), "-Q", QUEUE, "-E", "-l", "ERROR", "--without-mingle"]
    log = directory / "plain_celery.log"
    app = celery_app(database_url, redis_url)

    def measure() -> float:
        told.unlink(missing_ok=True)
        worker.send_signal(signal.SIGSTOP)  # it works a full queue off, as the product does
        try:
            send(app, QUEUE)
        finally:
            worker.send_signal(signal.SIGCONT)
        wait_until(
            lambda: told.exists() or worker.poll() is not None,
            timeout=WORKER_TIMEOUT,
            pause=POLL_INTERVAL,
            what="the plain Celery worker",
        )
        if worker.poll() is not None:
            raise ChildProcessError(child.tail(log))
        return float(told.read_text())

    with ExitStack() as stack:
        stack.callback(app.close)
        worker = child.spawn(child.Command([*command, *options], log, environment))
        stack.callback(child.stop, worker, ((signal.SIGTERM, STOP_TIMEOUT),))
        measure()  # the start counts for nobody
        yield measure


@functools.cache
def griptape_alone() -> dict[str, tuple[float, ...]]:
    """Milliseconds of CPU of the framework without the product: of a `run`, and of a paced `chunk`."""
    command = [sys.executable, "-m", "bench.griptape_alone"]
    told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=GRIPTAPE_TIMEOUT)
    return {name: tuple(samples) for name, samples in json.loads(told.stdout.splitlines()[-1]).items()}


def purge(database_url: str, redis_url: str, queue: str) -> None:
    """Drop the messages of a queue."""
    app = celery_app(database_url, redis_url, queue)
    app.control.purge()
    app.close()

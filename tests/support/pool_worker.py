"""A worker process like `worker.process`, with tasks that tests steer, and watch by Redis."""

import json
import os
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import redis
from celery import Celery, signals
from celery.exceptions import Ignore

from shared.settings import get_settings
from worker import lifeline
from worker.cancellation import Seat, current_seat
from worker.options import ProcessOptions
from worker.prefork import process_seat
from worker.process import serve
from worker.wiring import make_app

TOLD = "told"  # the list on which tasks tell what happens to them

client = redis.Redis.from_url(get_settings().redis_url.get_secret_value())


def tell(event: str, task: Any, **fields: object) -> None:
    told = {"event": event, "id": task.request.id, "pid": os.getpid(), "at": time.time(), **fields}
    client.rpush(TOLD, json.dumps(told))
    # Heard is not yet acknowledged: who is about to kill Redis waits for this line.
    print(f"told {event} {task.request.id}", file=sys.stderr, flush=True)  # noqa: T201  # it is the log


@contextmanager
def seated() -> Generator[Seat]:
    seat = current_seat()
    if seat is not None:
        yield seat
        return
    with process_seat() as seat:
        yield seat


def wait(task: Any, seconds: float) -> None:
    """Run for some seconds, or until told to stop."""
    with seated() as seat:
        tell("started", task)
        is_stopped = seat.token.wait(seconds)
        tell("stopped" if is_stopped else "finished", task, reason=seat.token.reason)
    if is_stopped:
        raise Ignore


def stuck(task: Any, grace: float) -> None:
    """Run for ever; once told to stop, be given up after `grace` seconds."""
    with seated() as seat, seat.token.on_cancel(threading.Timer(grace, seat.abandon).start):
        tell("started", task)
        threading.Event().wait()


def nothing(task: Any) -> None:
    tell("finished", task)


def register(app: Celery) -> None:
    for task in (wait, stuck, nothing):
        app.task(name=f"test.{task.__name__}", bind=True)(task)


def main() -> None:
    options = ProcessOptions.parse()
    if options.lifeline is not None:
        lifeline.hold(options.lifeline)
    app = make_app(get_settings())
    signals.worker_init.disconnect(dispatch_uid="on_worker_init")  # these tasks need no framework
    register(app)
    os._exit(serve(app, options))


if __name__ == "__main__":
    main()

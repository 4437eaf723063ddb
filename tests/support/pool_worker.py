"""A worker process like `worker.process.process`, with tasks that tests steer, and watch by Redis."""

import ctypes
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
from worker.cancellation import Slot, current_slot
from worker.process import supervisor_link
from worker.process.options import ProcessOptions
from worker.process.prefork import process_slot
from worker.process.process import serve
from worker.process.wiring import make_app

TOLD = "told"  # the list on which tasks tell what happens to them

client = redis.Redis.from_url(get_settings().redis_url.get_secret_value())


def tell(event: str, task: Any, **fields: object) -> None:
    told = {"event": event, "id": task.request.id, "pid": os.getpid(), "at": time.time(), **fields}
    client.rpush(TOLD, json.dumps(told))
    # Heard is not yet acknowledged: who is about to kill Redis waits for this line.
    print(f"told {event} {task.request.id}", file=sys.stderr, flush=True)  # noqa: T201  # it is the log


@contextmanager
def in_slot() -> Generator[Slot]:
    slot = current_slot()
    if slot is not None:
        yield slot
        return
    with process_slot() as slot:
        yield slot


def wait(task: Any, seconds: float) -> None:
    """Run for some seconds, or until told to stop."""
    with in_slot() as slot:
        tell("started", task)
        is_stopped = slot.token.wait(seconds)
        tell("stopped" if is_stopped else "finished", task, reason=slot.token.reason)
    if is_stopped:
        raise Ignore


def stuck(task: Any, grace: float) -> None:
    """Run for ever; once told to stop, be given up after `grace` seconds."""
    with in_slot() as slot, slot.token.on_cancel(threading.Timer(grace, slot.abandon).start):
        tell("started", task)
        threading.Event().wait()


def compute(task: Any, seconds: float) -> None:
    """Use the processor all the time."""
    with in_slot():
        tell("started", task)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass
        tell("finished", task)


def hold(task: Any, seconds: float) -> None:
    """Keep the interpreter lock in C: nothing else of the process runs."""
    with in_slot():
        tell("started", task)
        ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))
        tell("finished", task)


def nothing(task: Any) -> None:
    tell("finished", task)


def register(app: Celery) -> None:
    for task in (wait, stuck, compute, hold, nothing):
        app.task(name=f"test.{task.__name__}", bind=True)(task)


def main() -> None:
    options = ProcessOptions.parse()
    if options.supervisor_link is not None:
        supervisor_link.hold(options.supervisor_link)
    app = make_app(get_settings())
    signals.worker_init.disconnect(dispatch_uid="on_worker_init")  # these tasks need no framework
    register(app)
    os._exit(serve(app, options))


if __name__ == "__main__":
    main()

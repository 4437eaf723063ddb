"""Work on its way: task names, and what is sent once a transaction has committed."""

import queue
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import redis
import structlog
from celery import Celery
from kombu.exceptions import OperationalError
from sqlalchemy.orm import Session

from shared import channels
from shared.db import after_commit
from shared.events.log import StoredEvent
from shared.runs.lifecycle import RunKind
from shared.settings import Settings

COMPLAINTS: Final = "complaints"
"""The name of the question to a worker what it lacks of what its settings say."""

EXECUTE_RUN: Final = "runyard.execute_run"

BACKLOG: Final = 10_000
"""Sends that may wait in one process while Redis is slow; the reconciler covers the rest."""

log = structlog.get_logger(__name__)

SEND_ERRORS: Final = (OperationalError, redis.RedisError, OSError)
"""What it looks like when Redis is away."""


def task_id_of(run_id: uuid.UUID, attempt: int) -> str:
    """The Celery task id of an attempt; a revoked id is never used again, so each has its own."""
    return f"{run_id}.{attempt}"


def parse_task_id(task_id: str) -> tuple[uuid.UUID, int] | None:
    """The run and the attempt of a Celery task id, or None if it is of another making."""
    run_id, _, attempt = task_id.rpartition(".")
    try:
        return uuid.UUID(run_id), int(attempt)
    except ValueError:
        return None


def control(
    celery: Celery, command: str, *, names: Sequence[str] | None = None, timeout: float
) -> frozenset[str]:
    """Send a control command to all workers, or to those named; return the names of those that obey.

    Args:
        timeout: seconds of silence after which nobody else is expected to answer.

    Raises:
        kombu.exceptions.OperationalError, redis.RedisError, OSError: it was not sent.
    """
    destination = None if names is None else list(names)
    answers = celery.control.broadcast(command, destination=destination, reply=True, timeout=timeout)
    return frozenset(name for answer in answers or [] for name, said in answer.items() if "ok" in said)


class Outbox:
    """One thread that sends, in order, what must not hold up a caller. Full, it drops and says so."""

    def __init__(self, name: str, *, backlog: int = BACKLOG) -> None:
        self._name = name
        self._jobs: queue.Queue[Callable[[], object] | None] = queue.Queue(backlog)
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def put(self, job: Callable[[], object]) -> None:
        self._ensure_thread()
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            log.warning("send dropped", outbox=self._name, reason="backlog is full")

    def close(self, timeout: float = 3.0) -> None:
        """Send what is waiting, for up to `timeout` seconds."""
        with self._starting:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put(None)
            thread.join(timeout)

    def _ensure_thread(self) -> None:
        # Started on first use, so that a forked child gets a thread of its own.
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def _run(self) -> None:
        try:
            self._send_all()
        except BaseException:
            # What waits must not wait for the next put, which may never come.
            log.critical("an outbox died, and is begun anew", outbox=self._name, exc_info=True)
            with self._starting:
                is_ours = self._thread is threading.current_thread()
                self._thread = None if is_ours else self._thread
            if is_ours:
                self._ensure_thread()

    def _send_all(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except SEND_ERRORS as error:
                log.warning("send failed", outbox=self._name, error=str(error))
            except Exception:
                log.exception("send failed unexpectedly", outbox=self._name)


class Dispatcher:
    """Sends tasks, revokes and announcements after the commit, and never holds up a caller."""

    def __init__(self, celery: Celery, client: redis.Redis, *, queues: Mapping[RunKind, str]) -> None:
        self._celery = celery
        self._redis = client
        self._queues = queues
        self._tasks = Outbox("outbox-tasks")
        self._events = Outbox("outbox-events")

    @classmethod
    def make(cls, settings: Settings, celery: Celery) -> "Dispatcher":
        return cls.over(settings, celery, channels.make_redis(settings))

    @classmethod
    def over(cls, settings: Settings, celery: Celery, client: redis.Redis) -> "Dispatcher":
        """Send by connections that are there."""
        queues = {RunKind.ASSISTANT: settings.queue, RunKind.STRUCTURE: settings.structure_queue}
        return cls(celery, client, queues=queues)

    def enqueue(
        self, session: Session, run_id: uuid.UUID, *, attempt: int, kind: RunKind = RunKind.ASSISTANT
    ) -> None:
        """Send a run to the workers of its kind once the transaction commits, and only then."""
        send = partial(self.send, run_id, attempt=attempt, kind=kind)
        after_commit(session, lambda: self._tasks.put(send))

    def revoke(self, session: Session, run_id: uuid.UUID, *, attempt: int) -> None:
        """Stop an attempt's work once the transaction commits: fast, but may be missed."""
        after_commit(session, lambda: self._tasks.put(partial(self._send_revoke, run_id, attempt=attempt)))

    def announce(self, session: Session, events: Sequence[StoredEvent]) -> None:
        """Publish stored events of one run once the transaction commits."""
        after_commit(
            session,
            lambda: self._events.put(partial(channels.publish, self._redis, events)),
        )

    def send(self, run_id: uuid.UUID, *, attempt: int, kind: RunKind = RunKind.ASSISTANT) -> None:
        """Send a run to the workers at once. It carries its id and its attempt, nothing else.

        Raises:
            kombu.exceptions.OperationalError, redis.RedisError, OSError: it was not sent.
        """
        arguments = {"run_id": str(run_id), "attempt": attempt}
        self._celery.send_task(
            EXECUTE_RUN,
            kwargs=arguments,
            task_id=task_id_of(run_id, attempt),
            queue=self._queues[kind],
            retry=False,
            argsrepr="()",
            kwargsrepr=repr(arguments),
        )

    def queue_length(self) -> int:
        """Messages that wait in the broker.

        Raises:
            redis.RedisError: Redis is away.
        """
        return sum(int(self._redis.llen(name)) for name in set(self._queues.values()))

    def close(self) -> None:
        """Send what is waiting, then let go of the connections."""
        self._tasks.close()
        self._events.close()
        self._redis.close()

    def _send_revoke(self, run_id: uuid.UUID, *, attempt: int) -> None:
        self._celery.control.revoke(task_id_of(run_id, attempt), terminate=True)

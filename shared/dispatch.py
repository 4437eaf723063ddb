"""Work on its way: task names, and what is sent once a transaction has committed."""

import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import redis
import structlog
from celery import Celery
from kombu import Connection
from kombu.exceptions import OperationalError
from sqlalchemy import Connection as DatabaseConnection
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from shared import backlog, channels, task_events
from shared.database_errors import is_passing, words_of
from shared.db import after_commit
from shared.events.log import StoredEvent
from shared.runs import shares
from shared.runs.lifecycle import RunKind
from shared.settings import Settings
from shared.task_events import TaskEvent

COMPLAINTS: Final = "complaints"
"""The name of the question to a worker what it lacks of what its settings say."""

WHO: Final = "who"
"""The name of the question to a worker which of all processes it is: names are given again."""

EXECUTE_RUN: Final = "runyard.execute_run"

BACKLOG: Final = 10_000
"""Sends that may wait in one process while Redis is slow; the reconciler covers the rest."""

BACKLOG_BYTES: Final = 16 * 1_048_576
"""Bytes of messages that may wait in one outbox; a reader looks into PostgreSQL for what was dropped."""

WATCHERS_BACKLOG: Final = 2_000
"""Events for Flower that may wait in one process, of some hundred bytes each."""

WATCHERS_PATIENCE: Final = 0.5  # seconds that a process takes at its end to tell them

TELL_EVERY: Final = 1.0  # seconds between two words of what was dropped

log = structlog.get_logger(__name__)

SEND_ERRORS: Final = (OperationalError, redis.RedisError, OSError)
"""What it looks like when Redis is away."""


def task_id_of(run_id: uuid.UUID, attempt: int) -> str:
    """The Celery task id of an attempt; a revoked id is never used again, so each has its own."""
    return f"{run_id}.{attempt}"


def arguments_of(run_id: uuid.UUID, attempt: int) -> dict[str, str | int]:
    """What the task of an attempt is called with: all that a message carries."""
    return {"run_id": str(run_id), "attempt": attempt}


def parse_task_id(task_id: str) -> tuple[uuid.UUID, int] | None:
    """The run and the attempt of a Celery task id, or None if it is of another making."""
    run_id, _, attempt = task_id.rpartition(".")
    try:
        return uuid.UUID(run_id), int(attempt)
    except ValueError:
        return None


def ask(
    celery: Celery,
    command: str,
    *,
    names: Sequence[str] | None = None,
    timeout: float,
    limit: int | None = None,
    connection: Connection | None = None,
) -> list[tuple[str, Any]]:
    """Send a command to all workers, or to those named; return who answered, and what.

    Args:
        timeout: seconds of silence after which nobody else is expected to answer.
        limit: answers that are enough.
        connection: to send and listen by, instead of one that the process keeps.

    Raises:
        kombu.exceptions.OperationalError, redis.RedisError, OSError: it was not sent.
    """
    destination = None if names is None else list(names)
    answers = celery.control.broadcast(
        command, destination=destination, reply=True, timeout=timeout, limit=limit, connection=connection
    )
    return [(name, said) for answer in answers or [] for name, said in answer.items()]


@dataclass(frozen=True, slots=True)
class _Job:
    send: Callable[[], object]
    size: int
    about: Mapping[str, object]


class Outbox:
    """One thread that sends, in order, what must not hold up a caller. Full, it drops and says so."""

    def __init__(self, name: str, *, backlog: int = BACKLOG, most: int = BACKLOG_BYTES) -> None:
        self._name = name
        self._backlog = backlog
        self._most = most
        self._jobs: deque[_Job] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._is_closing = False
        self._told_at = float("-inf")
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    @property
    def waiting_bytes(self) -> int:
        """Bytes of what waits, and of what is being sent."""
        return self._bytes

    def put(self, job: Callable[[], object], *, size: int = 0, **about: object) -> None:
        """Send something after what waits already; what there is no room for is dropped.

        Args:
            size: the bytes that it holds while it waits.
            about: what a line of the log is to name, if it fails.
        """
        with self._changed:
            has_room = len(self._jobs) < self._backlog and (not size or self._bytes + size <= self._most)
            if has_room:
                self._jobs.append(_Job(job, size, about))
                self._bytes += size
                self._changed.notify()
            else:
                self._tell_of_a_drop()
        if has_room:
            self._ensure_thread()

    def close(self, timeout: float = 3.0) -> None:
        """Send what is waiting, for up to `timeout` seconds."""
        with self._starting:
            thread, self._thread = self._thread, None
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        if thread is not None:
            thread.join(timeout)

    def _tell_of_a_drop(self) -> None:
        if time.monotonic() >= self._told_at + TELL_EVERY:
            self._told_at = time.monotonic()
            log.warning("send dropped", outbox=self._name, reason="backlog is full", waiting=len(self._jobs))

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
        while (job := self._next()) is not None:
            try:
                job.send()
            except SEND_ERRORS as error:
                log.warning("send failed", outbox=self._name, error=str(error), **job.about)
            except Exception:
                log.exception("send failed unexpectedly", outbox=self._name, **job.about)
            finally:
                with self._changed:
                    self._bytes -= job.size

    def _next(self) -> "_Job | None":
        """Wait for the next job; None once the outbox is closed and nothing waits."""
        with self._changed:
            while not self._jobs:
                if self._is_closing:
                    return None
                self._changed.wait()
            return self._jobs.popleft()


class Dispatcher:
    """Sends tasks, revokes and announcements after the commit, and never holds up a caller."""

    def __init__(
        self,
        celery: Celery,
        client: redis.Redis,
        *,
        queues: Mapping[RunKind, str],
        prefix: str = "",
        secret: channels.Secret = lambda: None,
        share: int | None = None,
    ) -> None:
        self.share = share  # of the workers, in runs, that one organization may have
        self._celery = celery
        self._prefix = prefix
        self._secret = secret
        self._redis = client
        self._queues = queues
        self._tasks = Outbox("outbox-tasks")
        self._events = Outbox("outbox-events")
        self._watchers = Outbox("outbox-watchers", backlog=WATCHERS_BACKLOG)

    @classmethod
    def make(cls, settings: Settings, celery: Celery) -> "Dispatcher":
        secret = channels.InstallationSecret(settings)
        return cls.over(settings, celery, channels.make_redis(settings), secret=secret)

    @classmethod
    def over(
        cls,
        settings: Settings,
        celery: Celery,
        client: redis.Redis,
        *,
        secret: channels.Secret = lambda: None,
    ) -> "Dispatcher":
        """Send by connections that are there."""
        return cls(
            celery,
            client,
            queues=settings.queue_of,
            prefix=settings.redis_prefix,
            secret=secret,
            share=settings.running_share,
        )

    def enqueue(
        self, session: Session, run_id: uuid.UUID, *, attempt: int, kind: RunKind = RunKind.ASSISTANT
    ) -> None:
        """Send a run to the workers of its kind once the transaction commits, and only then."""
        send = partial(self.send, run_id, attempt=attempt, kind=kind)
        after_commit(session, lambda: self._tasks.put(send, run_id=str(run_id), attempt=attempt))

    def enqueue_next(self, session: Session, organization_id: uuid.UUID) -> None:
        """Send what an organization has room for in its share, once the transaction commits.

        It is looked for after the commit, by a connection of its own: of two ends at the same time, the
        later to look sees both.
        """
        if self.share is not None:
            send = partial(self._send_next, session.get_bind(), organization_id, share=self.share)
            after_commit(session, lambda: self._tasks.put(send, organization_id=str(organization_id)))

    def revoke(self, session: Session, run_id: uuid.UUID, *, attempt: int) -> None:
        """Stop an attempt's work once the transaction commits: fast, but may be missed."""
        send = partial(self._send_revoke, run_id, attempt=attempt)
        after_commit(session, lambda: self._tasks.put(send, run_id=str(run_id), attempt=attempt))

    def announce(self, session: Session, events: Sequence[StoredEvent]) -> None:
        """Publish stored events of one run once the transaction commits."""
        if events:
            after_commit(session, partial(self._announce, events))

    def tell_watchers(self, session: Session, events: Sequence[TaskEvent]) -> None:
        """Tell Flower and its like of tasks once the transaction commits."""
        if events:
            tell = partial(task_events.publish, self._celery, events)
            after_commit(session, lambda: self._watchers.put(tell))

    def _announce(self, events: Sequence[StoredEvent]) -> None:
        # The secret is read in the outbox's thread: here nobody may wait for PostgreSQL.
        size = sum(event.size or 0 for event in events)
        self._events.put(
            lambda: channels.publish(self._redis, events, self._secret(), prefix=self._prefix),
            size=size,
            run_id=str(events[0].run_id),
        )

    def send(self, run_id: uuid.UUID, *, attempt: int, kind: RunKind = RunKind.ASSISTANT) -> None:
        """Send a run to the workers at once. It carries its id and its attempt, nothing else.

        Raises:
            kombu.exceptions.OperationalError, redis.RedisError, OSError: it was not sent.
        """
        arguments = arguments_of(run_id, attempt)
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
        return sum(int(self._redis.llen(key)) for key in self._queue_keys)

    def waiting_tasks(self) -> frozenset[str] | None:
        """The ids of the tasks whose messages wait in the broker; None if they are too many to look at.

        Raises:
            redis.RedisError: Redis is away.
        """
        try:
            return backlog.task_ids(self._redis, self._queue_keys)
        except redis.exceptions.NoPermissionError as error:  # rules of an earlier release
            log.warning("queues not looked into: messages may be sent twice", error=str(error))
            return None

    @property
    def _queue_keys(self) -> set[str]:
        return {f"{self._prefix}{name}" for name in self._queues.values()}

    def close(self) -> None:
        """Send what is waiting, then let go of the connections."""
        self._tasks.close()
        self._events.close()
        self._watchers.close(WATCHERS_PATIENCE)
        self._redis.close()

    def _send_next(
        self, database: Engine | DatabaseConnection, organization_id: uuid.UUID, *, share: int
    ) -> None:
        try:
            with Session(database) as session, session.begin():
                waiting = shares.take_next(session, organization_id, share=share)
        except SQLAlchemyError as error:  # the reconciler sends them
            if not is_passing(error):
                raise
            log.warning("waiting runs not sent", reason=words_of(error))
            return
        for run in waiting:
            self.send(run.run_id, attempt=run.attempt, kind=run.kind)

    def _send_revoke(self, run_id: uuid.UUID, *, attempt: int) -> None:
        self._celery.control.revoke(task_id_of(run_id, attempt), terminate=True)

"""Dispatch: the names of tasks, and messages that leave once a transaction has committed."""

import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import redis
import structlog
from celery import Celery
from kombu import Producer
from kombu.exceptions import KombuError, OperationalError
from sqlalchemy import Connection as DatabaseConnection
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from shared.db import after_commit, is_passing, words_of
from shared.dispatch import backlog, shares, task_events
from shared.dispatch.task_events import TaskEvent
from shared.events import channels
from shared.events.log import StoredEvent
from shared.lifecycle import RunKind
from shared.metrics import definitions as metrics
from shared.settings import Settings

COMPLAINTS: Final = "complaints"
"""The control command that asks a worker which parts of its settings it cannot fulfil."""

WHO: Final = "who"
"""The control command that asks a worker for its process: worker names are reused."""

POLL_INTERVAL: Final = 0.05  # seconds; a connection that asks is closed after one, and not after a second

EXECUTE_RUN: Final = "runyard.execute_run"

NOBODY: Final[Mapping[str, str]] = MappingProxyType({})
"""The owners of a run whose task shows none."""

BACKLOG: Final = 10_000
"""Sends that may wait in one process while Redis is slow; the reconciler covers the rest."""

BACKLOG_BYTES: Final = 16 * 1_048_576
"""Bytes of messages that may wait in one outbox; readers read dropped events from PostgreSQL."""

WATCHERS_BACKLOG: Final = 2_000
"""Events for Flower that may wait in one process; each has some hundred bytes."""

WATCHERS_TIMEOUT: Final = 0.5  # seconds to send the events for Flower when a process ends

MAX_JOINED: Final = 100
"""Items that are sent at once."""

MAX_JOINED_BYTES: Final = 1_048_576
"""Bytes of the items that are sent at once, unless one alone is larger."""

TURN_TIMEOUT: Final = "1s"
"""How long the tasks of all tenants wait until one tenant's waiting runs can be chosen."""

DROP_LOG_INTERVAL: Final = 1.0  # seconds between two log lines about dropped sends

log = structlog.get_logger(__name__)

SEND_ERRORS: Final = (OperationalError, redis.RedisError, OSError)
"""Errors of a Redis that cannot be reached."""


def task_id_of(run_id: uuid.UUID, attempt: int) -> str:
    """The Celery task id of an attempt: each has its own, as Celery refuses a revoked id for ever."""
    return f"{run_id}.{attempt}"


def arguments_of(run_id: uuid.UUID, attempt: int) -> dict[str, str | int]:
    """The arguments of an attempt's task: a message carries nothing else."""
    return {"run_id": str(run_id), "attempt": attempt}


def shown_arguments(run_id: uuid.UUID, attempt: int, owners: Mapping[str, str]) -> str:
    """The arguments of an attempt's task as monitors show them: those of the message, and whose the run is.

    Flower finds a task by `kwargs:assistant_id=…`, or by an id alone.
    """
    return repr({**arguments_of(run_id, attempt), **owners})


def parse_task_id(task_id: str) -> tuple[uuid.UUID, int] | None:
    """The run and the attempt of a Celery task id, or None if another program made the id."""
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
) -> list[tuple[str, Any]]:
    """Send a control command to all workers, or to those named; return each worker's name and answer.

    The connection is closed again: forks of this process would wait on one of a pool.

    Args:
        timeout: seconds without an answer after which to return.
        limit: return after so many answers.

    Raises:
        kombu.exceptions.OperationalError, redis.RedisError, OSError: Redis refused twice within a second, or
            did not take it.
    """
    destination = None if names is None else list(names)
    with celery.connection_for_write(transport_options={"polling_interval": POLL_INTERVAL}) as own:
        own.ensure_connection(max_retries=1, interval_start=1)  # for one that is starting again
        answers = celery.control.broadcast(
            command, destination=destination, reply=True, timeout=timeout, limit=limit, connection=own
        )
    return [(name, said) for answer in answers or [] for name, said in answer.items()]


@dataclass(frozen=True, slots=True)
class _Job:
    send: Callable[[list[Any]], object]
    item: Any
    size: int
    about: Mapping[str, object]
    is_joined: bool = False


@dataclass(frozen=True, slots=True)
class Announced:
    """Events of one run that are to be published."""

    events: Sequence[StoredEvent]
    committed_at: float  # monotonic seconds


class Outbox:
    """A thread that sends jobs in order, so that callers never wait for Redis. A full one drops and logs."""

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
        """Bytes of the jobs that wait or are being sent."""
        return self._bytes

    def put(self, job: Callable[[], object], *, size: int = 0, **about: object) -> None:
        """Queue a job behind the waiting ones, or drop it if there is no room.

        Args:
            size: bytes that the job holds while it waits.
            about: fields of the log line if the job fails.
        """
        self._put(_Job(lambda _items: job(), None, size, about))

    def put_joined(
        self, send: Callable[[list[Any]], object], item: object, *, size: int = 0, **about: object
    ) -> None:
        """Queue an item as `put`; items with the same `send` that wait one behind the other are sent at once.

        Args:
            send: sends a list of items in order. An item that it cannot send keeps no other back.
        """
        self._put(_Job(send, item, size, about, is_joined=True))

    def _put(self, job: _Job) -> None:
        size = job.size
        with self._changed:
            has_room = len(self._jobs) < self._backlog and (not size or self._bytes + size <= self._most)
            if has_room:
                self._jobs.append(job)
                self._bytes += size
                self._changed.notify()
            elif time.monotonic() >= self._told_at + DROP_LOG_INTERVAL:
                self._told_at = time.monotonic()
                reason, waiting = "backlog is full", len(self._jobs)
                log.warning("send dropped", outbox=self._name, reason=reason, waiting=waiting)
        if has_room:
            self._ensure_thread()
        else:
            metrics.SENDS_DROPPED.inc(self._name)

    def close(self, timeout: float = 3.0) -> None:
        """Send the waiting jobs, for at most `timeout` seconds."""
        with self._starting:
            thread, self._thread = self._thread, None
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        if thread is not None:
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
            # Waiting jobs must not depend on another put, which may never come.
            log.critical("an outbox died, and is begun anew", outbox=self._name, exc_info=True)
            with self._starting:
                is_ours = self._thread is threading.current_thread()
                self._thread = None if is_ours else self._thread
            if is_ours:
                self._ensure_thread()

    def _send_all(self) -> None:
        while jobs := self._next():
            first = jobs[0]
            try:
                first.send([job.item for job in jobs])
            except SEND_ERRORS as error:
                metrics.SENDS_FAILED.inc(self._name, by=len(jobs))
                metrics.BROKER_ERRORS.inc("sender")
                log.warning("send failed", outbox=self._name, error=str(error), jobs=len(jobs), **first.about)
            except Exception:
                metrics.SENDS_FAILED.inc(self._name, by=len(jobs))
                log.exception("send failed unexpectedly", outbox=self._name, jobs=len(jobs), **first.about)
            finally:
                with self._changed:
                    self._bytes -= sum(job.size for job in jobs)

    def _next(self) -> list[_Job]:
        """Wait for the next job, and take those that it is joined with; none once the outbox is closed."""
        with self._changed:
            while not self._jobs:
                if self._is_closing:
                    return []
                self._changed.wait()
            jobs = [first := self._jobs.popleft()]
            size = first.size
            while first.is_joined and self._jobs and len(jobs) < MAX_JOINED:
                following = self._jobs[0]
                size += following.size
                if not following.is_joined or following.send != first.send or size > MAX_JOINED_BYTES:
                    break
                jobs.append(self._jobs.popleft())
            return jobs


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
        self.share = share  # runs that one tenant may have under way; None: no limit
        self.queue_of = queues
        self._celery = celery
        self._prefix = prefix
        self._secret = secret
        self._redis = client
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
        """Make one with an existing connection."""
        return cls(
            celery,
            client,
            queues=settings.queue_of,
            prefix=settings.redis_prefix,
            secret=secret,
            share=settings.running_share,
        )

    def enqueue(
        self,
        session: Session,
        run_id: uuid.UUID,
        *,
        attempt: int,
        kind: RunKind = RunKind.ASSISTANT,
        owners: Mapping[str, str] = NOBODY,
    ) -> None:
        """Send a run to the workers of its kind once the transaction commits, and only then.

        Args:
            owners: whose the run is (`shares.owners_of`), for monitors.
        """
        message = shares.Message(run_id, attempt, kind, owners)
        put = partial(self._tasks.put_joined, self._send_together, message)
        after_commit(session, partial(put, run_id=str(run_id), attempt=attempt))

    def enqueue_next(self, session: Session, organization_id: uuid.UUID) -> None:
        """Send the waiting runs that have room in their tenant's share, once the transaction commits.

        They are chosen after the commit, by a connection of the outbox's: of two runs that end at the same
        time, the later choice sees both ends.
        """
        if self.share is not None:
            send = partial(self._send_next, session.get_bind(), organization_id, share=self.share)
            after_commit(session, lambda: self._tasks.put(send, organization_id=str(organization_id)))

    def revoke(self, session: Session, run_id: uuid.UUID, *, attempt: int) -> None:
        """Revoke an attempt's task once the transaction commits: fast, but a worker may miss it."""
        put = partial(self._tasks.put_joined, self._revoke_together, task_id_of(run_id, attempt))
        after_commit(session, partial(put, run_id=str(run_id), attempt=attempt))

    def announce(self, session: Session, events: Sequence[StoredEvent]) -> None:
        """Publish stored events of one run once the transaction commits."""
        if not events:
            return

        size = sum(event.size or 0 for event in events)
        run_id = str(events[0].run_id)

        def put() -> None:
            announced = Announced(events, time.monotonic())
            self._events.put_joined(self._publish_together, announced, size=size, run_id=run_id)

        after_commit(session, put)

    def tell_watchers(self, session: Session, events: Sequence[TaskEvent]) -> None:
        """Send task events to Flower and other monitors once the transaction commits."""
        if events:
            tell = partial(task_events.publish, self._celery, events)
            after_commit(session, lambda: self._watchers.put(tell))

    def send(
        self,
        run_id: uuid.UUID,
        *,
        attempt: int,
        kind: RunKind = RunKind.ASSISTANT,
        owners: Mapping[str, str] = NOBODY,
    ) -> None:
        """Send a run to the workers at once: its id and its attempt, and for monitors `owners`.

        Raises:
            kombu.exceptions.OperationalError, redis.RedisError, OSError: Redis did not take it.
        """
        self._send_task(shares.Message(run_id, attempt, kind, owners))

    def _send_task(self, message: shares.Message, **options: Any) -> None:
        arguments = arguments_of(message.run_id, message.attempt)
        self._celery.send_task(
            EXECUTE_RUN,
            kwargs=arguments,
            task_id=task_id_of(message.run_id, message.attempt),
            queue=self.queue_of[message.kind],
            retry=False,
            argsrepr="()",
            kwargsrepr=shown_arguments(message.run_id, message.attempt, message.owners),
            **options,
        )
        metrics.DISPATCHES.inc(message.kind)

    def _send_together(self, messages: Sequence[shares.Message]) -> None:
        """Send runs to the workers, with what monitors are told of them, in one round trip to Redis.

        Raises:
            kombu.exceptions.OperationalError, redis.RedisError, OSError: Redis did not take all of them.
        """
        with self._celery.producer_pool.acquire(block=True) as producer:
            together: Any = producer  # its types lack `batch`
            try:
                with together.batch():
                    for message in messages:
                        self._add_task(message, producer)
            except KombuError as error:
                raise OperationalError(f"{error} {error.__cause__ or ''}".strip()) from error

    def _add_task(self, message: shares.Message, producer: Producer) -> None:
        """Add a message to the batch of a producer; one that cannot be made keeps no other back."""
        try:
            self._send_task(message, producer=producer)
        except (KombuError, *SEND_ERRORS):
            raise
        except Exception:
            log.exception("message not made", task_id=task_id_of(message.run_id, message.attempt))

    def _revoke_together(self, task_ids: Sequence[str]) -> None:
        """Revoke tasks by one command, which each worker heeds at once.

        Raises:
            kombu.exceptions.OperationalError, redis.RedisError, OSError: Redis did not take it.
        """
        self._celery.control.revoke(list(task_ids), terminate=True)

    def _publish_together(self, batches: Sequence[Announced]) -> None:
        """Publish events of several runs in one round trip to Redis.

        Raises:
            redis.RedisError: not all of them were published; PostgreSQL has them.
        """
        # The outbox's thread reads the secret: who announces must not wait for PostgreSQL.
        secret = self._secret()
        with self._redis.pipeline(transaction=False) as pipeline:
            for announced in batches:
                channels.publish(pipeline, announced.events, secret, prefix=self._prefix)
            pipeline.execute()
        now = time.monotonic()
        for announced in batches:
            metrics.PUBLISH_SECONDS.observe(now - announced.committed_at)

    def queue_length(self) -> int:
        """How many messages wait in the broker.

        Raises:
            redis.RedisError: Redis cannot be reached.
        """
        return sum(self.queue_lengths().values())

    def queue_lengths(self) -> dict[str, int]:
        """How many messages wait in the broker, by queue.

        Raises:
            redis.RedisError: Redis cannot be reached.
        """
        names = sorted(set(self.queue_of.values()))
        return {name: int(self._redis.llen(f"{self._prefix}{name}")) for name in names}

    def waiting_tasks(self) -> frozenset[str] | None:
        """The ids of the tasks whose messages wait in the broker; None if there are too many to read.

        Raises:
            redis.RedisError: Redis cannot be reached.
        """
        try:
            return backlog.task_ids(self._redis, self._queue_keys)
        except redis.exceptions.NoPermissionError as error:  # rules of an earlier release
            log.warning("queues not looked into: messages may be sent twice", error=str(error))
            return None

    @property
    def _queue_keys(self) -> set[str]:
        return {f"{self._prefix}{name}" for name in self.queue_of.values()}

    def close(self) -> None:
        """Send what waits, then close the connections."""
        self._tasks.close()
        self._events.close()
        self._watchers.close(WATCHERS_TIMEOUT)
        self._redis.close()

    def _send_next(
        self, database: Engine | DatabaseConnection, organization_id: uuid.UUID, *, share: int
    ) -> None:
        try:
            with Session(database) as session, session.begin():
                session.execute(select(func.set_config("lock_timeout", TURN_TIMEOUT, True)))
                waiting = shares.take_next(session, organization_id, share=share)
        except SQLAlchemyError as error:  # the reconciler sends them
            if not is_passing(error):
                raise
            log.warning("waiting runs not sent", reason=words_of(error))
            return
        for run in waiting:
            self.send(run.run_id, attempt=run.attempt, kind=run.kind, owners=run.owners)

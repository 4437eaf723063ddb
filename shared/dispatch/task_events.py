"""Celery's events of tasks, sent by ourselves: what Flower and its like are told of a run's attempts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from celery import Celery
from celery.events import Event
from celery.events.event import get_exchange
from celery.utils.time import utcoffset

NO_WORKER: Final = "(no worker)"
"""Where a task is that no worker has had, or will have. No worker can be called so."""


SEVERAL: Final = "task.multi"
"""The routing key of a message that is a list of events."""


@dataclass(frozen=True, slots=True)
class TaskEvent:
    """An event in Celery's words."""

    type: str
    worker: str  # of which it is told; who tells it may be another process
    fields: Mapping[str, Any] = field(default_factory=dict)


def publish(celery: Celery, events: Sequence[TaskEvent]) -> None:
    """Tell whoever watches, now, in one message; if nobody does, or Redis is away, nobody is told later.

    Raises:
        kombu.exceptions.OperationalError, redis.RedisError, OSError: they were not told.
    """
    # Without a clock: who receives an event puts it behind what it has received before.
    told = [Event(one.type, hostname=one.worker, utcoffset=utcoffset(), **one.fields) for one in events]
    with celery.producer_pool.acquire(block=True) as producer:
        exchange = get_exchange(producer.connection, name=celery.conf.event_exchange)
        producer.publish(
            told,
            routing_key=SEVERAL,
            exchange=exchange.name,
            declare=[exchange],
            serializer="json",
            delivery_mode=1,
            retry=False,
        )

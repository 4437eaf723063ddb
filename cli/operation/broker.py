"""What Redis knows: messages in queues, and what the workers answer."""

from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

from cli.doctor.findings import first_line
from shared.addresses.base import AddressError
from shared.celery_app import make_celery
from shared.dispatch.dispatcher import SEND_ERRORS, ask
from shared.events import channels
from shared.settings import Settings

ANSWER_TIMEOUT: Final = 1.5
"""Seconds without an answer after which no further worker is waited for."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker answers."""

    queues: tuple[str, ...]
    slots: int | None


@dataclass(frozen=True, slots=True)
class BrokerView:
    """Messages by queue and answers by worker; `fault` is why they are not known."""

    messages: Mapping[str, int] = field(default_factory=dict)
    answers: Mapping[str, Answer] = field(default_factory=dict)
    fault: str | None = None


def look_at_broker(settings: Settings, *, expected: Collection[str] = ()) -> BrokerView:
    """Ask Redis and the workers. A Redis that is away is a fault of the answer, not an error.

    Args:
        settings: the address, and the queues of new runs.
        expected: workers that should answer: once all of them have, nobody else is waited for.
    """
    if not settings.redis_url.get_secret_value():
        return BrokerView(fault="Redis: RUNYARD_REDIS_URL is not set.")
    try:
        with ExitStack() as exits:
            client = exits.enter_context(channels.make_redis(settings))
            celery = exits.enter_context(make_celery(settings))
            limit = len(expected) or None
            taken = dict(ask(celery, "active_queues", timeout=ANSWER_TIMEOUT, limit=limit))
            stats = dict(ask(celery, "stats", timeout=ANSWER_TIMEOUT, limit=limit)) if taken else {}
            answers = {
                name: Answer(_queues_in(said), _slots_in(stats.get(name))) for name, said in taken.items()
            }
            queues = {*settings.queue_of.values(), *(name for one in answers.values() for name in one.queues)}
            messages = {name: int(client.llen(f"{settings.redis_prefix}{name}")) for name in sorted(queues)}
    except (AddressError, *SEND_ERRORS) as error:
        return BrokerView(fault=f"Redis: {first_line(error)}")
    return BrokerView(messages, answers)


def _queues_in(said: Any) -> tuple[str, ...]:
    listed = said if isinstance(said, list) else []
    return tuple(sorted(str(one["name"]) for one in listed if isinstance(one, dict) and "name" in one))


def _slots_in(said: Any) -> int | None:
    pool = said.get("pool") if isinstance(said, dict) else None
    slots = pool.get("max-concurrency") if isinstance(pool, dict) else None
    return slots if isinstance(slots, int) else None

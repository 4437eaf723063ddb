"""What is to be said of Redis, of the queue in it, and of the workers behind it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import redis
from celery import Celery

from shared import channels
from shared.addresses import AddressError
from shared.celery_app import make_celery
from shared.dispatch import COMPLAINTS, SEND_ERRORS, Dispatcher, ask
from shared.doctor.findings import Finding, Severity, first_line
from shared.settings import Settings

NO_KEY: Final = "runyard:doctor"
"""Behind the prefix, a key that does not exist: pushing onto it if it does changes nothing, and tells."""

ANSWER_WITHIN: Final = 1.5  # seconds that workers have to answer a broadcast

AWAY: Final = "Start it, or correct RUNYARD_REDIS_URL. Until then runs are accepted, and wait."
NOT_TOLD: Final = "Set RUNYARD_REDIS_URL to have Redis and the workers looked at."


@dataclass(frozen=True, slots=True)
class Broker:
    """What was found, and the ids of the tasks whose messages wait; None if these could not be told."""

    findings: list[Finding]
    waiting: frozenset[str] | None = None


def examine_broker(settings: Settings) -> Broker:
    """Look at Redis and, through it, at the workers. Nothing is raised: a Redis that is away is a finding."""
    if not settings.redis_url.get_secret_value():
        return Broker([Finding("Redis", Severity.WARNING, "Its address is not known.", NOT_TOLD)])
    try:
        with channels.make_redis(settings) as client:
            return _examine(settings, client)
    except AddressError as error:
        return Broker([Finding("Redis", Severity.PROBLEM, error.message, AWAY)])
    except SEND_ERRORS as error:
        return Broker([Finding("Redis", Severity.PROBLEM, first_line(error), AWAY)])


def _examine(settings: Settings, client: redis.Redis) -> Broker:
    info: dict[str, Any] = client.info()
    answers = Finding("Redis", Severity.OK, f"Answers; version {info['redis_version']}.")
    writes = _writes(client, f"{settings.redis_prefix}{NO_KEY}")
    findings = [answers, writes, _memory(info)]
    queues = list(dict.fromkeys([settings.queue, settings.structure_queue]))
    with make_celery(settings) as celery:
        dispatcher = Dispatcher.over(settings, celery, client)
        length, waiting = dispatcher.queue_length(), dispatcher.waiting_tasks()
        if writes.severity is Severity.OK:  # the workers' answers go through Redis
            findings += _workers(celery, queues)
    where = " and ".join(map(repr, queues))
    findings.append(Finding("Queue", Severity.OK, f"{length} messages wait in {where}."))
    return Broker(findings, waiting)


def _writes(client: redis.Redis, key: str) -> Finding:
    try:
        client.lpushx(key, "")
    except redis.exceptions.NoPermissionError as error:
        advice = f"Let this user push to {key!r}, or see in the API's log whether it may send."
        return Finding("Redis writes", Severity.WARNING, f"Cannot be told: {error}", advice)
    except redis.exceptions.ResponseError as error:
        advice = "Make it writable: a master, with memory and disk to spare. Until then runs wait."
        return Finding("Redis writes", Severity.PROBLEM, first_line(error), advice)
    return Finding("Redis writes", Severity.OK, "Accepted.")


def _memory(info: dict[str, Any]) -> Finding:
    policy, limit = info["maxmemory_policy"], info["maxmemory"]
    seen = (
        f"{info['used_memory_human']} in use; {policy}, limit {info['maxmemory_human'] if limit else 'none'}."
    )
    if policy.startswith("allkeys"):
        advice = "Set maxmemory-policy to noeviction: as it is, a full Redis throws queues away."
        return Finding("Redis memory", Severity.WARNING, seen, advice)
    return Finding("Redis memory", Severity.OK, seen)


def _workers(celery: Celery, queues: Sequence[str]) -> list[Finding]:
    taken = celery.control.inspect(timeout=ANSWER_WITHIN).active_queues() or {}
    if not taken:
        advice = "Start `runyard worker`; one that is there has lost Redis, or hangs: see its log."
        return [Finding("Workers", Severity.PROBLEM, f"None answers within {ANSWER_WITHIN:g} s.", advice)]
    names = ("Workers", "Structure workers")
    takers = [_takers(name, taken, queue) for name, queue in zip(names, queues, strict=False)]
    answers = ask(celery, COMPLAINTS, timeout=ANSWER_WITHIN)
    return [*takers, _complaints(answers), *_namesakes(answers)]


def _namesakes(answers: Sequence[tuple[str, Any]]) -> list[Finding]:
    alike = sorted(name for name, count in Counter(name for name, _ in answers).items() if count > 1)
    if not alike:
        return []
    seen = f"Several answer to the same name: {', '.join(alike)}. They are drained together."
    advice = "Start each with a name of its own: `runyard worker --name`, or RUNYARD_WORKER_NAME."
    return [Finding("Worker names", Severity.PROBLEM, seen, advice)]


def _complaints(answers: Sequence[tuple[str, Any]]) -> Finding:
    """What the workers say that they lack; one of an earlier release does not know the question."""
    told: dict[str, list[str]] = {}
    for name, said in answers:
        for complaint in said if isinstance(said, list) else ():
            told.setdefault(str(complaint), []).append(name)
    if not told:
        return Finding("Worker settings", Severity.OK, "No worker lacks what its settings name.")
    seen = " ".join(f"{complaint} (So {', '.join(sorted(names))}.)" for complaint, names in told.items())
    advice = "Mend it in the environment of these workers, and start them again."
    return Finding("Worker settings", Severity.PROBLEM, seen, advice)


def _takers(title: str, taken: Mapping[str, Any], queue: str) -> Finding:
    takers = [name for name, queues in taken.items() if queue in {one["name"] for one in queues}]
    seen = f"{len(taken)} answer, {len(takers)} take from {queue!r}: {', '.join(sorted(taken))}."
    if not takers:
        advice = f"New runs are sent to {queue!r}: name it in RUNYARD_QUEUES of a worker."
        return Finding(title, Severity.PROBLEM, seen, advice)
    return Finding(title, Severity.OK, seen)

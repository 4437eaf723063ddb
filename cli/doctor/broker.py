"""Findings about Redis, the queues in it, and the workers on it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import redis
from celery import Celery

from cli.doctor.findings import Finding, Severity, first_line
from cli.listing import counted
from shared.addresses.base import AddressError
from shared.celery_app import make_celery
from shared.dispatch.dispatcher import COMPLAINTS, SEND_ERRORS, Dispatcher, ask
from shared.events import channels
from shared.settings import Settings

NO_KEY: Final = "runyard:doctor"
"""A key, after the prefix, that does not exist: LPUSHX changes nothing and shows whether Redis writes."""

ANSWER_TIMEOUT: Final = 1.5  # seconds

AWAY: Final = "Start it, or correct RUNYARD_REDIS_URL. Until then, runs are accepted but wait."
NOT_TOLD: Final = "Set RUNYARD_REDIS_URL, so that Redis and the workers are checked."


@dataclass(frozen=True, slots=True)
class Broker:
    """Findings, and the ids of the tasks whose messages wait; None if they could not be read."""

    findings: list[Finding]
    waiting: frozenset[str] | None = None


def examine_broker(settings: Settings) -> Broker:
    """Check Redis and, through it, the workers. An unreachable Redis is a finding, not an error."""
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
    policy, limit = info["maxmemory_policy"], info["maxmemory"]
    limited = f"limit {info['maxmemory_human'] if limit else 'none'}"
    seen = f"{info['used_memory_human']} in use; {policy}, {limited}."
    memory = Finding("Redis memory", Severity.OK, seen)
    if policy.startswith("allkeys"):
        advice = "Set maxmemory-policy to noeviction: with this policy, a full Redis deletes queues."
        memory = Finding("Redis memory", Severity.WARNING, seen, advice)
    findings = [answers, writes, memory]
    queues = list(dict.fromkeys([settings.run_queue, settings.structure_queue]))
    with make_celery(settings) as celery:
        dispatcher = Dispatcher.over(settings, celery, client)
        length, waiting = dispatcher.queue_length(), dispatcher.waiting_tasks()
        if writes.severity is Severity.OK:  # workers answer through Redis
            findings += _workers(celery, queues)
    wait = "waits" if length == 1 else "wait"
    where = " and ".join(map(repr, queues))
    findings.append(Finding("Queue", Severity.OK, f"{counted(length, 'message')} {wait} in {where}."))
    return Broker(findings, waiting)


def _writes(client: redis.Redis, key: str) -> Finding:
    try:
        client.lpushx(key, "")
    except redis.exceptions.NoPermissionError as error:
        advice = f"Let this user push to {key!r}, or check the API's log for refused sends."
        return Finding("Redis writes", Severity.WARNING, f"Unknown: {error}", advice)
    except redis.exceptions.ResponseError as error:
        advice = "Make it writable: a master, with free memory and disk. Until then, runs wait."
        return Finding("Redis writes", Severity.PROBLEM, first_line(error), advice)
    return Finding("Redis writes", Severity.OK, "Accepted.")


def _workers(celery: Celery, queues: Sequence[str]) -> list[Finding]:
    taken = dict(ask(celery, "active_queues", timeout=ANSWER_TIMEOUT))
    if not taken:
        advice = "Start `runyard worker`. A running one has lost Redis, or hangs: see its log."
        return [Finding("Workers", Severity.PROBLEM, f"None answers within {ANSWER_TIMEOUT:g} s.", advice)]
    names = ("Workers", "Structure workers")
    takers = []
    for title, queue in zip(names, queues, strict=False):
        takes = [name for name, own in taken.items() if queue in {one["name"] for one in own}]
        answering = f"{counted(len(taken), 'worker')} on Redis: {', '.join(sorted(taken))}"
        seen = f"{answering}. On the queue {queue!r}: {len(takes)}."
        if takes:
            takers.append(Finding(title, Severity.OK, seen))
        else:
            advice = f"New runs are sent to {queue!r}: add it to RUNYARD_WORKER_QUEUES of a worker."
            takers.append(Finding(title, Severity.PROBLEM, seen, advice))
    answers = ask(celery, COMPLAINTS, timeout=ANSWER_TIMEOUT)

    # The missing resources that workers report; a worker of an earlier release reports none.
    told: dict[str, list[str]] = {}
    for name, said in answers:
        for complaint in said if isinstance(said, list) else ():
            told.setdefault(str(complaint), []).append(name)
    complaints = Finding("Worker settings", Severity.OK, "Every worker has what its settings name.")
    if told:
        seen = " ".join(f"{what} (Reported by {', '.join(sorted(whose))}.)" for what, whose in told.items())
        advice = "Correct the environment of these workers and restart them."
        complaints = Finding("Worker settings", Severity.PROBLEM, seen, advice)

    alike = sorted(name for name, count in Counter(name for name, _ in answers).items() if count > 1)
    if not alike:
        return [*takers, complaints]
    seen = f"Several answer to the same name: {', '.join(alike)}. They are drained together."
    advice = "Start each with its own name: `runyard worker --name`, or RUNYARD_WORKER_NAME."
    return [*takers, complaints, Finding("Worker names", Severity.PROBLEM, seen, advice)]

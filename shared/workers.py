"""Workers: their names, and the options of their command line."""

import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

LONGEST_NAME: Final = 64  # characters; a number may be added

RESERVED_NAMES: Final = frozenset({"external"})  # who has a run that its caller executes

_TAKEN_KEYS: Final = frozenset({"unacked", "unacked_index", "unacked_mutex"})
_TAKEN_PREFIX: Final = "_kombu."
"""What Celery keeps beside the queues in Redis, under keys that are no lists."""

_FORM: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:@[A-Za-z0-9._-]+)?")


def check_name(name: str) -> str:
    """Return a name that a worker may have.

    Raises:
        ValueError: it may not; in one sentence.
    """
    if len(name) > LONGEST_NAME:
        raise ValueError(f"a worker's name has {LONGEST_NAME} characters at the most")
    if name in RESERVED_NAMES or not _FORM.fullmatch(name):
        raise ValueError(
            "a worker's name has letters, digits, '.', '_' and '-' only, and at most one '@', in between"
        )
    return name


def default_name() -> str:
    """The name of a worker without a given one: that of its machine, so it survives a restart."""
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname()) or "host"
    return f"worker@{host}"[:LONGEST_NAME]


def numbered(name: str, number: int, *, mark: str) -> str:
    """A name with a number: `worker@host`, 2 and `-` make `worker-2@host`."""
    local, at, host = name.partition("@")
    return f"{local}{mark}{number}{at}{host}"


def check_queues(listed: str) -> str:
    """Return a list of queues, separated by commas.

    Raises:
        ValueError: it names none, or one that no queue may have; in one sentence.
    """
    names = list(filter(str.strip, listed.split(",")))
    if not names:
        raise ValueError("must name at least one queue")
    for name in names:
        check_queue(name)
    return listed


def check_queue(name: str) -> str:
    """Return the name of a queue, without blanks around it: workers read lists of names so.

    Raises:
        ValueError: it is none, or a list, or the key of something else in Redis; in one sentence.
    """
    name = name.strip()
    if not name or "," in name:
        raise ValueError("must be the name of one queue")
    if name in _TAKEN_KEYS or name.startswith(_TAKEN_PREFIX) or not name.isprintable():
        raise ValueError("must be a name that Celery does not use itself, in printable characters")
    return name


class Pool(StrEnum):
    """Where a worker process executes its runs."""

    THREADS = "threads"  # in threads of the process
    PREFORK = "prefork"  # in child processes


@dataclass(frozen=True, slots=True)
class WorkerOption:
    """One option of the command line."""

    flag: str
    parse: Callable[[str], Any]  # raises ValueError with a sentence for people
    metavar: str
    help: str
    default: str  # as help shows it


def _count(text: str) -> int:
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise ValueError(f"{text!r} is not a whole number from 1 up")


def _pool(text: str) -> Pool:
    try:
        return Pool(text)
    except ValueError:
        raise ValueError(f"{text!r} is not one of {', '.join(Pool)}") from None


NAME: Final = WorkerOption(
    "--name",
    check_name,
    "NAME",
    "The worker's name in Flower, logs, runs and `runyard drain`.",
    "worker@ and the host name",
)
PROCESSES: Final = WorkerOption(
    "--processes", _count, "NUMBER", "Worker processes.", "one per processor; 1 with prefork, and in `dev`"
)
CONCURRENCY: Final = WorkerOption(
    "--concurrency",
    _count,
    "NUMBER",
    "Runs a worker process executes at once.",
    "50; one per processor with prefork",
)
POOL: Final = WorkerOption(
    "--pool",
    _pool,
    "|".join(Pool),
    "`prefork` executes each run in a child process, which can be killed.",
    Pool.THREADS.value,
)
QUEUES: Final = WorkerOption(
    "--queues", check_queues, "NAMES", "Queues to consume, separated by commas.", "runs"
)

OPTIONS: Final[Mapping[str, WorkerOption]] = MappingProxyType(
    {
        "name": NAME,
        "processes": PROCESSES,
        "concurrency": CONCURRENCY,
        "pool": POOL,
        "queues": QUEUES,
    }
)
"""All options, by the name of their value."""


def command_line(**values: object) -> list[str]:
    """Return the options as words of a command line; an option whose value is None is left out.

    Raises:
        KeyError: no option has that name.
    """
    # One word each, so that a value may begin with a dash.
    return [f"{OPTIONS[name].flag}={value}" for name, value in values.items() if value is not None]

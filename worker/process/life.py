"""Signs of life of this worker process: to its supervisor, and to `runyard health`."""

import threading
import time
from collections.abc import Callable
from typing import Any, Final

from celery.worker import state

from shared.processes.beats import Load
from shared.processes.pulse import Fact, Kind, Limits, Pulse
from shared.processes.silence import beat_interval
from shared.processes.starting import begin_pulse, probe_limit
from shared.setting_types import names_of
from shared.settings import Settings
from worker.process import supervisor_link
from worker.vitals import vitals

TURN_INTERVAL: Final = 1.0  # seconds between two notes of a consumer's loop

TURN_LIMIT: Final = 90.0
"""Seconds without a turn of a consumer that is not wedged. It finds within 51 s that a broker hangs, and
each of its attempts to connect counts as a turn."""

_own: Final = [Pulse.unseen()]
"""The pulse of this process; one that nobody sees until `begin`."""

_ready: Final = threading.Event()

_with_each_beat: Final[list[Callable[[], object]]] = []


def begin(settings: Settings, name: str, queues: str) -> None:
    """Show signs of life from now on.

    Args:
        name: of this process.
        queues: those that it takes runs from, separated by commas.
    """
    limits = Limits(turn=TURN_LIMIT, alive=probe_limit(settings), intake=TURN_LIMIT)
    keys = [f"{settings.redis_prefix}{queue}" for queue in names_of(queues)]
    _own[:] = [begin_pulse(Kind.WORKER, name, limits, queues=keys)]
    interval = beat_interval(settings)

    def beat() -> None:
        while True:
            _own[0].beat(Fact.ALIVE)
            supervisor_link.show_life(is_ready=_ready.is_set())
            for act in _with_each_beat:
                act()
            time.sleep(interval)

    vitals.start("life", beat)


def with_each_beat(act: Callable[[], object]) -> None:
    """Have the thread that shows life do something more, which never blocks."""
    _with_each_beat.append(act)


def is_ready() -> None:
    """Note that this process takes runs: from now on its silence is limited."""
    _ready.set()
    supervisor_link.show_life(is_ready=True)


def turned(consumer: Any) -> None:
    """Note a turn of the consumer's loop, and whether it could take a run, as Celery decides it."""
    pulse, pool = _own[0], consumer.pool
    takes = bool(consumer.app.amqp.queues.consume_from)  # a drain empties it
    slots = pool.num_processes if takes else 0
    busy = len(state.reserved_requests)
    pulse.beat(Fact.TURN)
    pulse[Fact.SLOTS], pulse[Fact.BUSY] = slots, busy
    if busy >= slots:
        pulse[Fact.ROOM] = 0
    elif not pulse[Fact.ROOM]:
        pulse.beat(Fact.ROOM)


def load() -> Load | None:
    """Return the slots of this process at the last turn of its consumer; None before the first."""
    pulse = _own[0]
    return Load(int(pulse[Fact.SLOTS]), int(pulse[Fact.BUSY])) if pulse[Fact.TURN] else None


def heard() -> None:
    """Note that the broker answered the consumer, or that the consumer tried to reach it."""
    _own[0].beat(Fact.INTAKE, Fact.TURN)


def end() -> None:
    """Remove the pulse of this process."""
    _own[0].close()

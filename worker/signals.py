"""What a worker does at the turning points of Celery's life."""

import os
import signal
import threading
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import billiard.util
import structlog
from celery import Task, signals
from celery.exceptions import WorkerShutdown
from celery.worker.control import control_command, inspect_command

from shared.db import unit_of_work
from shared.dispatch import COMPLAINTS, EXECUTE_RUN, WHO, Outbox, parse_task_id
from shared.logs import configure_logging
from shared.settings import get_settings
from shared.structures import sandbox
from worker import credentials, naming, resources, self_check
from worker.drain import ConsumerPost, Drain
from worker.executors.registry import warm_up
from worker.lifeline import EX_RECYCLE
from worker.pool import TaskPool
from worker.prefork import PreforkPool, ignore_drain_signal
from worker.presence import Presence
from worker.redaction import blot
from worker.revocation import cancel_revoked
from worker.supervisor import EX_DRAINED
from worker.vitals import vitals

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)

log = structlog.get_logger(__name__)

_cancels = Outbox("revocations")
"""Database work of the consumer's thread, done in another."""

_presences: Final[list[Presence]] = []
"""One, once the worker is ready."""

_identity: Final = uuid.uuid4().hex
"""Of this process, and of no other that has its name before or after it."""

_forking = threading.Event()
"""Set in the parent of a prefork pool."""


def connect() -> None:
    """Have Celery call this module; again makes no difference."""
    receivers: dict[Any, Callable[..., None]] = {
        signals.celeryd_init: on_named,
        signals.setup_logging: on_setup_logging,
        signals.worker_init: on_worker_init,
        signals.worker_ready: on_worker_ready,
        signals.worker_process_init: on_worker_process_init,
        signals.worker_shutdown: on_worker_shutdown,
        signals.worker_process_shutdown: on_worker_process_shutdown,
        signals.task_revoked: on_task_revoked,
    }
    for celery_signal, receiver in receivers.items():
        celery_signal.connect(receiver, weak=False, dispatch_uid=receiver.__name__)
    control_command(name="shutdown")(shut_down)
    inspect_command(name=COMPLAINTS)(tell_complaints)
    inspect_command(name=WHO)(tell_who)


def on_named(sender: str, **_: Any) -> None:
    """Note the name that Celery has given this worker, or was given."""
    naming.known_as(sender)


def on_setup_logging(**_: Any) -> None:
    """Log our way; that there is a receiver keeps Celery from its own."""
    billiard.util.get_logger().propagate = True  # what the pool of processes says, in our form, too
    configure_logging(get_settings(), process="worker", worker=naming.own_name, blot=blot)


def on_worker_init(**_: Any) -> None:
    """Tidy the keys, and load what the first run would wait for; before any fork, so that all have it."""
    for unfit in credentials.tidy():
        log.error("provider key unusable", variable=unfit.variable, message=str(unfit))
    settings = get_settings()
    warm_up()
    self_check.look(settings)
    choice = sandbox.choose(settings)
    log.info("sandbox chosen", sandbox=choice.sandbox and choice.sandbox.mode, what=choice.description)


def on_worker_ready(sender: Any, **_: Any) -> None:
    """Take over from Celery how this process is stopped: it goes on listening while it drains."""
    pool = sender.pool
    if not isinstance(pool, TaskPool | PreforkPool):
        log.warning("pool not ours: no drain, no cancel", pool=type(pool).__module__)
        return
    if isinstance(pool, PreforkPool):
        _forking.set()
    drain = Drain(pool, ConsumerPost(sender), get_settings())
    drain.start()
    pool.drain = drain
    if not _forking.is_set():  # a child that is forked while a thread writes would inherit its locks
        _be_present(sender.hostname, drain)
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: drain.order())


def _be_present(name: str, drain: Drain) -> None:
    presence = Presence(
        name,
        lambda: resources.get().sessions,
        pause=get_settings().heartbeat.total_seconds(),
        on_name_lost=drain.recycle,
    )
    presence.start()
    _presences.append(presence)


def tell_complaints(_state: Any, **_: Any) -> list[str]:
    """Say what this worker lacks, to `runyard doctor`: a command over the broker."""
    return self_check.complaints()


def tell_who(_state: Any, **_: Any) -> dict[str, str]:
    """Say which of all processes this is: the name is its successor's, too."""
    return {"ok": _identity}


def shut_down(state: Any, **_: Any) -> Mapping[str, str]:
    """Drain the worker (the shutdown command of Celery and Flower); sent again, it changes nothing."""
    drain: Drain | None = getattr(state.consumer.pool, "drain", None)
    if drain is None:
        raise WorkerShutdown(EX_DRAINED)
    drain.begin()
    return {"ok": "draining", WHO: _identity}


def on_worker_process_init(**_: Any) -> None:
    """Prepare a child of the prefork pool; its resources are made with its first run."""
    ignore_drain_signal()
    vitals.on_death(partial(os._exit, EX_RECYCLE))  # its parent forks another


def on_worker_process_shutdown(**_: Any) -> None:
    resources.close()


def on_worker_shutdown(**_: Any) -> None:
    for presence in _presences:
        presence.close()
    _cancels.close()
    resources.close()


def on_task_revoked(sender: Task[Any, Any], request: Any, **_: Any) -> None:
    """Cancel the run of a revoked task, whoever revoked it.

    Called in the consumer's thread, which must not wait for a database.
    """
    task = parse_task_id(request.id)
    if sender.name == EXECUTE_RUN and task is not None:
        run_id, attempt = task
        _cancels.put(partial(_cancel, run_id, attempt))


def _cancel(run_id: uuid.UUID, attempt: int) -> None:
    own = resources.get()
    with (
        structlog.contextvars.bound_contextvars(run_id=str(run_id), attempt=attempt),
        unit_of_work(own.sessions) as session,
    ):
        cancel_revoked(session, own.dispatcher, run_id, attempt=attempt)
    if _forking.is_set():
        own.engine.dispose()  # children would inherit what is open

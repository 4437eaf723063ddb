"""Receivers of Celery's signals, and our control commands."""

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
from sqlalchemy.exc import SQLAlchemyError

from shared.db import is_passing, unit_of_work, words_of
from shared.dispatch.dispatcher import COMPLAINTS, EXECUTE_RUN, WHO, Outbox, parse_task_id
from shared.logs import about_run, configure_logging, flush_logs, log_uncaught
from shared.settings import get_settings
from shared.structures import sandbox
from worker import credentials, identity
from worker.attempt import resources
from worker.attempt.outage import persistently
from worker.attempt.revocation import cancel_revoked
from worker.executors.registry import warm_up
from worker.process import life, self_check
from worker.process.drain import ConsumerControl, Drain
from worker.process.pool import TaskPool
from worker.process.prefork import PreforkPool, ignore_drain_signal, show_life_to_parent
from worker.process.presence import Presence
from worker.process.supervisor import EX_DRAINED
from worker.process.supervisor_link import EX_RECYCLE
from worker.redaction import redact
from worker.vitals import vitals

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)

log = structlog.get_logger(__name__)

_cancels = Outbox("revocations")
"""The thread for database work of the consumer's thread."""

_presences: Final[list[Presence]] = []
"""The presence of this process, once the worker is ready."""

_identity: Final = uuid.uuid4().hex
"""Tells this process from others with its name, before and after it."""

_forking = threading.Event()
"""Set in the parent of a prefork pool."""


def connect() -> None:
    """Connect the receivers; idempotent."""
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
    """Record the worker's name."""
    identity.set_name(sender)


def on_setup_logging(**_: Any) -> None:
    """Configure our logging; a receiver of this signal turns Celery's off."""
    billiard.util.get_logger().propagate = True  # the prefork pool's lines in our form, too
    configure_logging(
        get_settings(), process="worker", worker=identity.own_name, redact=partial(redact, limit=None)
    )
    log_uncaught()


def on_worker_init(**_: Any) -> None:
    """Strip the provider keys, load the framework and check the settings, before any fork."""
    for unfit in credentials.tidy():
        log.error("provider key unusable", variable=unfit.variable, message=str(unfit))
    settings = get_settings()
    warm_up()
    self_check.check(settings)
    choice = sandbox.choose(settings)
    log.info("sandbox chosen", sandbox=choice.sandbox and choice.sandbox.mode, what=choice.description)


def on_worker_ready(sender: Any, **_: Any) -> None:
    """Replace Celery's shutdown by our drain, during which the process still listens."""
    pool = sender.pool
    if not isinstance(pool, TaskPool | PreforkPool):
        log.warning("unknown pool: no drain, no cancel", pool=type(pool).__module__)
        return
    if isinstance(pool, PreforkPool):
        _forking.set()
    drain = Drain(pool, ConsumerControl(sender), get_settings())
    drain.start()
    pool.drain = drain
    if not _forking.is_set():  # a child forked during a write would inherit its locks
        presence = Presence(
            sender.hostname,
            lambda: resources.get().sessions,
            interval=get_settings().heartbeat.total_seconds(),
            load=life.load,
            on_name_lost=drain.recycle,
        )
        presence.start()
        _presences.append(presence)
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: drain.order())
    life.is_ready()


def tell_complaints(_state: Any, **_: Any) -> list[str]:
    """Answer `runyard doctor` with the gaps of the self-check; a control command."""
    return self_check.complaints()


def tell_who(_state: Any, **_: Any) -> dict[str, str]:
    """Answer with the identity of this process; its successor has the same name."""
    return {"ok": _identity}


def shut_down(state: Any, **_: Any) -> Mapping[str, str]:
    """Drain the worker: the shutdown command of Celery and Flower; idempotent."""
    drain: Drain | None = getattr(state.consumer.pool, "drain", None)
    if drain is None:
        raise WorkerShutdown(EX_DRAINED)
    drain.request()
    return {"ok": "draining", WHO: _identity}


def on_worker_process_init(**_: Any) -> None:
    """Prepare a child of the prefork pool; its first run creates its resources."""
    ignore_drain_signal()
    show_life_to_parent()
    vitals.on_death(_recycle_child)


def _recycle_child() -> None:
    """End a child of the prefork pool; its parent forks another."""
    flush_logs()
    os._exit(EX_RECYCLE)


def on_worker_process_shutdown(**_: Any) -> None:
    resources.close()
    flush_logs()


def on_worker_shutdown(**_: Any) -> None:
    for presence in _presences:
        presence.close()
    _cancels.close()
    resources.close()
    life.end()


def on_task_revoked(sender: Task[Any, Any], request: Any, **_: Any) -> None:
    """Cancel the run of a revoked task.

    Called in the consumer's thread, which must not wait for the database.
    """
    task = parse_task_id(request.id)
    if sender.name == EXECUTE_RUN and task is not None:
        run_id, attempt = task
        _cancels.put(partial(_cancel, run_id, attempt))


def _cancel(run_id: uuid.UUID, attempt: int) -> None:
    """Cancel the run of a revoked task, through an outage of PostgreSQL: nobody else knows of the cancel."""
    own = resources.get()

    def cancel() -> None:
        try:
            with unit_of_work(own.sessions) as session:
                cancel_revoked(session, own.dispatcher, run_id, attempt=attempt)
        finally:
            if _forking.is_set():
                own.engine.dispose()  # children would inherit open connections

    with about_run(run_id, attempt):
        try:
            persistently(cancel, grace=own.settings.database_outage_grace)
        except SQLAlchemyError as error:
            if not is_passing(error):
                raise
            log.warning("revoked task cancels nothing: the database stayed away", error=words_of(error))

"""The reconciler process: finds lost, overdue and undelivered runs, and requeues, ends or resends them.

Any number may run: each row is handled by the reconciler that locks it first. It reads PostgreSQL alone, and
works without workers.
"""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Final

import redis
import structlog
from sqlalchemy import func
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from shared import tracing
from shared.celery_app import make_celery
from shared.db import (
    Sessions,
    is_passing,
    make_engine,
    make_sessions,
    unit_of_work,
    words_of,
)
from shared.dispatch import shares
from shared.dispatch.dispatcher import Dispatcher
from shared.idempotency.service import forget_expired
from shared.metrics import definitions as metrics
from shared.models import ProcessKind
from shared.processes import beats
from shared.processes.ending import end_process
from shared.processes.exporter import Exporter, listen, token_of
from shared.processes.failures import plain_failures
from shared.processes.garbage import settle_garbage
from shared.processes.hidden import hide_memory
from shared.processes.metrics import OwnMetrics
from shared.processes.pulse import Fact, Kind, Limits, Pulse
from shared.processes.starting import begin, begin_pulse, demand_schema, probe_limit
from shared.processes.stop_signals import sets
from shared.retention.policy import Policy
from shared.runs import queries
from shared.settings import Settings
from worker.reconciler.laps import BATCH
from worker.reconciler.lease_trust import LeaseTrust
from worker.reconciler.observer import Observer
from worker.reconciler.purger import Purger
from worker.reconciler.repairs import Repairs, count_repair, facts_of

log = structlog.get_logger(__name__)

TURN_LIMIT: Final = 300.0
"""Seconds for one transaction, beside the pause after a round; it may wait for the locks of a migration."""


class Reconciler:
    """Each round checks for every kind of run that needs repair."""

    def __init__(
        self, settings: Settings, sessions: Sessions, dispatcher: Dispatcher, *, pulse: Pulse | None = None
    ) -> None:
        """Prepare to reconcile.

        Args:
            pulse: shows each transaction as a turn; None shows it to nobody.
        """
        self._pulse = pulse or Pulse.unseen()
        self._settings = settings
        self._sessions = sessions
        self._dispatcher = dispatcher
        self._lease_trust = LeaseTrust(settings)
        self.name = f"{socket.gethostname()}/{os.getpid()}"  # among the beats
        self._laps = Repairs(settings, dispatcher, self._lease_trust).laps()

    def round(self) -> int:
        """Do one round.

        Returns:
            The number of runs that were moved, completed or resent.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: PostgreSQL is down.
        """
        changed = sum(lap.go_on(self._sessions, self._beat) for lap in self._laps) + self._send_again()
        self._repeat(partial(forget_expired, limit=BATCH))
        return changed

    def run(self, stop: threading.Event) -> None:
        """Do rounds until `stop` is set."""
        interval = self._settings.reconcile_interval.total_seconds()
        self._lease_trust.begin()
        while not stop.is_set():
            begun_at = time.monotonic()
            self._pulse.beat(Fact.TURN)
            try:
                if changed := self.round():
                    log.info("reconciled", runs=changed)
                with unit_of_work(self._sessions) as session:
                    beats.beat(session, self.name, ProcessKind.RECONCILER)
                    beats.forget_silent(session)
                metrics.RECONCILER_ROUNDS.inc("done")
                metrics.RECONCILER_ROUND_SECONDS.observe(time.monotonic() - begun_at)
            except SQLAlchemyError as error:
                if not is_passing(error):
                    raise
                metrics.RECONCILER_ROUNDS.inc("database_away")
                log.warning("database away", error=words_of(error))
            stop.wait(interval)
        try:
            with unit_of_work(self._sessions) as session:
                beats.leave(session, self.name)
        except SQLAlchemyError as error:
            log.warning("database away", error=words_of(error))

    def _repeat(self, step: Callable[[Session], int]) -> int:
        """Do a step that never fails of a row until it finds nothing more; return what it has done in all."""
        total = 0
        while True:
            self._beat()
            with unit_of_work(self._sessions) as session:
                done = step(session)
            if not done:
                return total
            total += done

    def _beat(self) -> None:
        self._pulse.beat(Fact.TURN)

    def _send_again(self) -> int:
        """Resend runs whose message was lost, and none whose message still waits in a queue."""
        after, share = self._settings.republish_after, self._settings.running_share
        with unit_of_work(self._sessions) as session:
            if not queries.is_any_late(session, after=after, share=share):
                return 0
        try:
            waiting = self._dispatcher.waiting_tasks()
        except redis.RedisError as error:
            metrics.BROKER_ERRORS.inc("reconciler")
            log.warning("broker away", error=str(error))
            return 0
        return self._repeat(partial(self._republish, waiting=waiting))

    def _republish(self, session: Session, *, waiting: frozenset[str] | None) -> int:
        undelivered = queries.lock_undelivered(
            session,
            after=self._settings.republish_after,
            waiting=waiting,
            share=self._settings.running_share,
            limit=BATCH,
        )
        for run in undelivered:
            run.dispatched_at = func.now()
            run.dispatch_count += 1
            owners = shares.owners_of(run)
            self._dispatcher.enqueue(session, run.id, attempt=run.attempt + 1, kind=run.kind, owners=owners)
            count_repair(session, "sent_again")
            log.info("run sent again", **{**facts_of(run), "attempt": run.attempt + 1})
        return len(undelivered)


@contextmanager
def purging(purger: Purger, stop: threading.Event) -> Generator[None]:
    """Let a purger work beside a block. If it fails, both end, and its error is raised."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            purger.run(stop)
        except BaseException as error:  # noqa: BLE001  # raised in the main thread
            failures.append(error)
            stop.set()

    thread = threading.Thread(target=work, name="purger")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if failures:
        raise failures[0]


def main() -> None:
    """Run the reconciler until SIGTERM or SIGINT."""
    hide_memory()
    with plain_failures():
        settings = begin("reconciler")
        metrics_listener = listen(settings)
        demand_schema(settings)
    stop = threading.Event()
    on_signal = sets(stop)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    limits = Limits(
        turn=TURN_LIMIT + settings.reconcile_interval.total_seconds(), alive=probe_limit(settings)
    )
    pulse = begin_pulse(Kind.RECONCILER, beats.this_process(), limits)
    pulse.show_life()
    engine = make_engine(settings, pool_size=3)
    sessions = make_sessions(engine)
    dispatcher = Dispatcher.make(settings, make_celery(settings))
    tracing.start(settings, process="reconciler")
    reconciler = Reconciler(settings, sessions, dispatcher, pulse=pulse)
    if metrics_listener is not None:
        observer = Observer.make(settings, dispatcher, name=reconciler.name)
        Exporter(metrics_listener, OwnMetrics(observer), token=token_of(settings)).start()
        observer.start(stop)
    settle_garbage()
    log.info("reconciler started")
    with purging(Purger(Policy.of(settings), sessions), stop):
        reconciler.run(stop)
    dispatcher.close()
    engine.dispose()
    tracing.close()
    pulse.close()
    log.info("reconciler stopped")


if __name__ == "__main__":
    main()
    end_process(0)  # the observer may be in a statement

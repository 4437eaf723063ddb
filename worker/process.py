"""One worker process: a Celery worker from its start to its exit."""

import os
import warnings
from dataclasses import replace
from typing import Any

from celery import Celery
from celery.apps.worker import Worker
from celery.platforms import SecurityWarning  # type: ignore[attr-defined]  # not in the stubs

from shared.failures import plain_failures
from shared.processes.hidden import hide_memory
from shared.settings import get_settings, names_of
from worker import lifeline, naming, presence
from worker.options import Pool, ProcessOptions
from worker.signals import on_setup_logging
from worker.wiring import PREFORK, THREADS, make_app


class NamedWorker(Worker):
    """A Celery worker that is called what we call it; its own puts `celery@` before a name without a host."""

    def __init__(self, celery: Celery, name: str, **options: Any) -> None:
        self._name = name
        super().__init__(app=celery, hostname=name, **options)

    def on_before_init(self, quiet: bool = False, **kwargs: Any) -> None:  # noqa: FBT001, FBT002  # Celery's
        self.hostname = self._name
        super().on_before_init(quiet=quiet, **kwargs)


def serve(celery: Celery, options: ProcessOptions) -> int:
    """Work until told to stop; return the exit code."""
    # It warns of root, who is in danger from pickled messages; we take none.
    warnings.simplefilter("ignore", SecurityWarning)
    worker = NamedWorker(
        celery,
        options.name,
        pool_cls=THREADS if options.pool is Pool.THREADS else PREFORK,
        concurrency=options.concurrency,
        queues=names_of(options.queues),
        without_mingle=True,  # a second at each start, for revokes that the heartbeat finds anyway
        without_gossip=True,
        quiet=True,
    )
    worker.start()
    return worker.exitcode or 0


def main() -> None:
    hide_memory()  # before the pool forks: what prefork executes runs in is hidden, too
    with plain_failures():
        settings = get_settings()
    options = ProcessOptions.parse()
    if options.lifeline is not None:
        lifeline.hold(options.lifeline)
    on_setup_logging()
    with plain_failures():
        is_kept = options.pool is Pool.THREADS  # what forks says nothing of itself
        name = naming.settle(settings, options.name, options.holder, is_kept=is_kept)
    presence.hold(options.holder)
    # An abandoned thread may still run, and must not hold up the interpreter's own way out.
    os._exit(serve(make_app(settings), replace(options, name=name)))


if __name__ == "__main__":
    main()

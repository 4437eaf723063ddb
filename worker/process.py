"""One worker process: a Celery worker from its start to its exit."""

import os
import warnings

from celery import Celery
from celery.platforms import SecurityWarning  # type: ignore[attr-defined]  # not in the stubs

from shared.failures import plain_failures
from shared.processes.hidden import hide_memory
from shared.settings import get_settings, names_of
from worker import lifeline
from worker.options import Pool, ProcessOptions
from worker.wiring import PREFORK, THREADS, make_app


def serve(celery: Celery, options: ProcessOptions) -> int:
    """Work until told to stop; return the exit code."""
    # It warns of root, who is in danger from pickled messages; we take none.
    warnings.simplefilter("ignore", SecurityWarning)
    worker = celery.Worker(
        hostname=options.name,
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
    # An abandoned thread may still run, and must not hold up the interpreter's own way out.
    os._exit(serve(make_app(settings), options))


if __name__ == "__main__":
    main()

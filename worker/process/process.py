"""One worker process: a Celery worker from its start to its exit."""

import signal
import warnings
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from celery import Celery
from celery.apps.worker import Worker
from celery.platforms import SecurityWarning  # type: ignore[attr-defined]  # not in the stubs
from celery.worker import state

from shared.metrics import definitions as metrics
from shared.processes.ending import end_process
from shared.processes.failures import plain_failures
from shared.processes.garbage import settle_garbage
from shared.processes.hidden import hide_memory
from shared.processes.metrics import count_into
from shared.setting_types import names_of
from shared.settings import Settings, get_settings
from shared.workers import Pool
from worker import identity
from worker.executors.program.workdirs import remove_left_workdirs
from worker.process import life, naming, supervisor_link
from worker.process.options import ProcessOptions
from worker.process.signals import STOP_SIGNALS, on_setup_logging
from worker.process.supervisor import EX_DRAINED
from worker.process.wiring import PREFORK, THREADS, make_app


class NamedWorker(Worker):
    """A Celery worker with exactly our name; Celery puts `celery@` before a name without a host."""

    def __init__(self, celery: Celery, name: str, **options: Any) -> None:
        self._name = name
        super().__init__(app=celery, hostname=name, **options)

    def on_before_init(self, quiet: bool = False, **kwargs: Any) -> None:  # noqa: FBT001, FBT002  # Celery's
        self.hostname = self._name
        super().on_before_init(quiet=quiet, **kwargs)

    def install_platform_tweaks(self, worker: Any) -> None:
        """Stop without a word at a signal that comes before the worker is ready, as without Redis.

        Celery's handlers print lines in a form of their own.
        """
        super().install_platform_tweaks(worker)
        for number in STOP_SIGNALS:
            signal.signal(number, _stop_before_ready)


def _stop_before_ready(*_: object) -> None:
    setattr(state, "should_stop", EX_DRAINED)  # noqa: B010  # the stubs do not know it


def serve(celery: Celery, options: ProcessOptions) -> int:
    """Work until a stop signal; return the exit code."""
    # Celery warns of root because of pickled messages; we accept none.
    warnings.simplefilter("ignore", SecurityWarning)
    life.begin(get_settings(), options.name, options.queues)
    worker = NamedWorker(
        celery,
        options.name,
        pool_cls=THREADS if options.pool is Pool.THREADS else PREFORK,
        concurrency=options.concurrency,
        queues=names_of(options.queues),
        without_mingle=True,  # saves a second at each start; lease renewals find revokes anyway
        without_gossip=True,
        quiet=True,
    )
    settle_garbage()  # before the pool forks
    worker.start()
    return worker.exitcode or 0


def show_queues(settings: Settings, taken: Collection[str]) -> None:
    """Show the waits in the queues from which this process takes runs, before it takes any.

    Alerts tell by them which queues have a worker.
    """
    for kind, queue in settings.queue_of.items():
        if queue in taken:
            metrics.QUEUE_WAIT.show(kind, queue)


def main() -> None:
    hide_memory()  # before the pool forks, so that its children are hidden, too
    with plain_failures():
        settings = get_settings()
    options = ProcessOptions.parse()
    if options.supervisor_link is not None:
        supervisor_link.hold(options.supervisor_link)
    on_setup_logging()
    if options.metrics is not None:
        count_into(options.metrics)
        show_queues(settings, names_of(options.queues))
    with plain_failures():
        is_kept = options.pool is Pool.THREADS  # a prefork parent does not beat
        name = naming.settle(settings, options.name, options.holder, is_kept=is_kept)
    identity.set_holder(options.holder)
    remove_left_workdirs(settings)
    # An abandoned thread may still run, and would delay the interpreter's normal exit.
    end_process(serve(make_app(settings), replace(options, name=name)))


if __name__ == "__main__":
    main()

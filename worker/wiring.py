"""A Celery application with all that makes it our worker: task, pool, consumer, signals."""

from typing import Final

from celery import Celery
from kombu import Exchange, Queue

from shared.celery_app import make_celery
from shared.settings import Settings, names_of
from worker import signals, tasks

THREADS: Final = "worker.pool:TaskPool"
PREFORK: Final = "worker.prefork:PreforkPool"


def make_app(settings: Settings) -> Celery:
    """Make the application of a worker, or of who watches workers. Nothing is connected to yet."""
    app = make_celery(settings)
    app.conf.update(
        # What `celery -A worker.app worker` takes without options.
        worker_pool=THREADS,
        worker_consumer="worker.consumer:Consumer",
        worker_concurrency=settings.concurrency,
        task_queues=[Queue(name, Exchange(name), routing_key=name) for name in names_of(settings.queues)],
    )
    tasks.register(app)
    signals.connect()
    return app

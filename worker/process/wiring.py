"""The worker's Celery application: task, pool, consumer, signals."""

from typing import Final

from celery import Celery
from kombu import Exchange, Queue

from shared.celery_app import make_celery
from shared.setting_types import names_of
from shared.settings import Settings
from worker.process import signals, tasks

THREADS: Final = "worker.process.pool:TaskPool"
PREFORK: Final = "worker.process.prefork:PreforkPool"


def make_app(settings: Settings) -> Celery:
    """Make the application of a worker or of Flower. It connects to nothing yet."""
    app = make_celery(settings)
    app.conf.update(
        # The defaults of `celery -A worker.app worker`.
        worker_pool=THREADS,
        worker_consumer="worker.process.consumer:Consumer",
        worker_concurrency=settings.concurrency,
        task_queues=[
            Queue(name, Exchange(name), routing_key=name) for name in names_of(settings.worker_queues)
        ],
    )
    tasks.register(app)
    signals.connect()
    return app

"""Celery's consumer, back soon after its broker is."""

from functools import partial
from typing import Any, Final

from celery.worker.consumer import Consumer as CeleryConsumer

RETRY_PAUSE: Final = 1  # seconds; Celery's own pause grows to 30, as if a worker had anything else to do


class Consumer(CeleryConsumer):
    """A consumer that calls a lost broker at a steady pace."""

    def ensure_connected(self, conn: Any) -> Any:
        conn.ensure_connection = partial(
            conn.ensure_connection, interval_start=RETRY_PAUSE, interval_max=RETRY_PAUSE
        )
        return super().ensure_connected(conn)

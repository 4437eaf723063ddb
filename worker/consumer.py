"""Celery's consumer, back soon after its broker is."""

import time
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

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        """Pause after a broker that lets itself be called and then refuses: nothing else would."""
        super().on_connection_error_before_connected(exc)
        time.sleep(RETRY_PAUSE)

"""Celery's consumer, back soon after its broker is, and deaf to what is no message of ours."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from celery.worker.consumer import Consumer as CeleryConsumer
from celery.worker.consumer.control import Control

from worker import intake
from worker.intake import MalformedMessageError

RETRY_PAUSE: Final = 1  # seconds; Celery's own pause grows to 30, as if a worker had anything else to do


class Consumer(CeleryConsumer):
    """A consumer that calls a lost broker at a steady pace, and drops what it cannot read."""

    # What the stubs do not know.
    steps: Any
    strategies: Any
    connection_errors: Any
    channel_errors: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for step in self.steps:
            if isinstance(step, Control):
                box: Any = getattr(step, "box")  # noqa: B009  # the stubs do not know it
                box.on_message = partial(self._obey, box)
        intake.keep_lines_short()

    def ensure_connected(self, conn: Any) -> Any:
        intake.make_tolerant(conn)
        conn.ensure_connection = partial(
            conn.ensure_connection, interval_start=RETRY_PAUSE, interval_max=RETRY_PAUSE
        )
        return super().ensure_connected(conn)

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        """Pause after a broker that lets itself be called and then refuses: nothing else would."""
        super().on_connection_error_before_connected(exc)
        time.sleep(RETRY_PAUSE)

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """What is done with each message of a queue: it is checked whole, then Celery's."""
        receive = super().create_task_handler(*args, **kwargs)
        outages = intake.outages(self.connection_errors, self.channel_errors)
        own = {name for name in self.strategies if not name.startswith("celery.")}

        def on_task_received(message: Any) -> None:
            try:
                intake.check_task(message, own)
                receive(message)
            except outages:
                raise
            except Exception as error:  # noqa: BLE001  # whatever garbage brings about; the line names its type
                self._drop(message, error)

        return on_task_received

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        self._drop(message, exc)

    def on_unknown_message(self, _body: Any, message: Any) -> None:
        self._drop(message, MalformedMessageError("no task"))

    def on_unknown_task(self, _body: Any, message: Any, _exc: Exception) -> None:
        self._drop(message, MalformedMessageError("unknown task"))

    def on_invalid_task(self, _body: Any, message: Any, exc: Exception) -> None:
        self._drop(message, exc)

    def _drop(self, message: Any, reason: Exception) -> None:
        intake.drop(reason, queue=(message.delivery_info or {}).get("routing_key"))
        if not message.acknowledged:
            message.reject()

    def _obey(self, box: Any, body: Any, message: Any) -> None:
        """Do what a control message says; unlike Celery's own, keep the channel whatever it says."""
        box.c.app.clock.forward()
        try:
            intake.check_control(body, message.headers, box.node.handlers, size=len(message.body))
            box.node.handle_message(body, message)
        except intake.outages(self.connection_errors, self.channel_errors):
            raise
        except Exception as error:  # noqa: BLE001  # whatever garbage brings about; the line names its type
            intake.drop(error, source="control")

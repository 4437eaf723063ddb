"""Celery's consumer: reconnects every second, drops malformed messages, and shows its turns."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from celery.worker.consumer import Consumer as CeleryConsumer
from celery.worker.consumer.control import Control

from shared.metrics import definitions as metrics
from worker.process import intake, life
from worker.process.intake import MalformedMessageError

RECONNECT_INTERVAL: Final = 1  # seconds; Celery's own grows to 30


class Consumer(CeleryConsumer):
    """A consumer with a steady reconnect interval that drops malformed messages."""

    # Missing in the stubs.
    steps: Any
    strategies: Any
    connection_errors: Any
    channel_errors: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for step in self.steps:
            if isinstance(step, Control):
                box: Any = getattr(step, "box")  # noqa: B009  # missing in the stubs
                box.on_message = partial(self._on_control, box)
        intake.shorten_log_lines()

    def ensure_connected(self, conn: Any) -> Any:
        intake.make_tolerant(conn, on_answer=life.heard)
        ensure = partial(
            conn.ensure_connection, interval_start=RECONNECT_INTERVAL, interval_max=RECONNECT_INTERVAL
        )

        def ensure_connection(errback: Callable[..., object], *args: Any, **options: Any) -> Any:
            def on_error(*error: Any) -> object:
                life.heard()  # a broker that is away is not our fault
                return errback(*error)

            return ensure(on_error, *args, **options)

        conn.ensure_connection = ensure_connection
        life.heard()
        return super().ensure_connected(conn)

    def register_with_event_loop(self, hub: Any) -> None:
        super().register_with_event_loop(hub)
        life.turned(self)
        hub.call_repeatedly(life.TURN_INTERVAL, life.turned, self)

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        """Wait after a broker accepted the connection and then refused: Celery would retry at once."""
        metrics.BROKER_ERRORS.inc("consumer")
        super().on_connection_error_before_connected(exc)
        life.heard()
        time.sleep(RECONNECT_INTERVAL)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Count a lost connection; Celery connects anew."""
        metrics.BROKER_ERRORS.inc("consumer")
        super().on_connection_error_after_connected(exc)

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """Return the handler of a queue's messages: a check of the whole message, then Celery's handler."""
        receive = super().create_task_handler(*args, **kwargs)
        outages = intake.outages(self.connection_errors, self.channel_errors)
        own = {name for name in self.strategies if not name.startswith("celery.")}

        def on_task_received(message: Any) -> None:
            try:
                intake.check_task(message, own)
                receive(message)
            except outages:
                raise
            except Exception as error:  # noqa: BLE001  # a malformed message can raise anything; the log line names the type
                self._drop(message, error)

        return on_task_received

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        self._drop(message, exc)

    def on_unknown_message(self, _body: Any, message: Any) -> None:
        self._drop(message, MalformedMessageError("not a task"))

    def on_unknown_task(self, _body: Any, message: Any, _exc: Exception) -> None:
        self._drop(message, MalformedMessageError("unknown task"))

    def on_invalid_task(self, _body: Any, message: Any, exc: Exception) -> None:
        self._drop(message, exc)

    def _drop(self, message: Any, reason: Exception) -> None:
        intake.drop(reason, queue=(message.delivery_info or {}).get("routing_key"))
        if not message.acknowledged:
            message.reject()

    def _on_control(self, box: Any, body: Any, message: Any) -> None:
        """Execute a control message; a malformed one, unlike in Celery's own handler, keeps the channel."""
        box.c.app.clock.forward()
        try:
            intake.check_control(body, message.headers, box.node.handlers, size=len(message.body))
            box.node.handle_message(body, message)
        except intake.outages(self.connection_errors, self.channel_errors):
            raise
        except Exception as error:  # noqa: BLE001  # a malformed message can raise anything; the log line names the type
            intake.drop(error, source="control")

"""Flower's handlers: showing, revoking and draining stay, other controls are off, all need a login.

Flower has no setting for this, so its table of handlers is changed before it makes its application. A
release with another table is refused rather than started half closed.
"""

from typing import Final

from flower import command, events, urls
from flower.api import BaseApiHandler
from flower.views import BaseHandler
from flower.views.monitor import Metrics
from tornado.ioloop import IOLoop
from tornado.web import HTTPError, authenticated

from shared.errors import RunyardError
from worker.flower.view import Receiver, State, View, demand

OFF: Final = (
    "/api/worker/pool/restart/(.+)",
    "/api/worker/pool/autoscale/(.+)",
    "/api/worker/queue/add-consumer/(.+)",
    "/api/worker/queue/cancel-consumer/(.+)",
    "/api/task/apply/(.+)",
    "/api/task/async-apply/(.+)",
    "/api/task/send-task/(.+)",
    "/api/task/abort/(.+)",
    "/api/task/timeout/(.+)",
    "/api/task/rate-limit/(.+)",
)
"""Controls that send tasks or move workers between queues past PostgreSQL."""

METRICS: Final = "/metrics"

NO_FRAMES: Final = {"X-Frame-Options": "DENY", "Content-Security-Policy": "frame-ancestors 'none'"}
"""Against clickjacking: no other site may frame Flower's buttons."""


class UnknownFlowerError(RunyardError):
    """This release of Flower has unknown handlers, so its controls cannot be turned off."""


class Off(BaseApiHandler):  # type: ignore[misc]  # Flower is untyped
    """A control that is off."""

    def prepare(self) -> None:
        super().prepare()
        if self.get_current_user():
            raise HTTPError(403, "This control is off: runs are submitted and limited through the API.")
        raise HTTPError(401)


class GuardedMetrics(BaseApiHandler, Metrics):  # type: ignore[misc]  # Flower is untyped
    """The metrics, behind the same login as Flower's API, with the demand for workers."""

    @authenticated
    async def get(self) -> None:
        await IOLoop.current().run_in_executor(None, demand().update)
        await super().get()


def guard() -> None:
    """Turn the unsafe controls off and install our views; idempotent.

    Raises:
        UnknownFlowerError: Flower lacks one of the handlers.
    """
    replacements: dict[str, type[BaseHandler]] = {**dict.fromkeys(OFF, Off), METRICS: GuardedMetrics}
    patterns = (each[0] if isinstance(each, tuple) else each.regex.pattern for each in urls.handlers)
    positions = {str(pattern): position for position, pattern in enumerate(patterns)}
    if missing := replacements.keys() - positions.keys():
        raise UnknownFlowerError(f"{UnknownFlowerError.__doc__} Missing: {', '.join(sorted(missing))}.")
    for pattern, handler in replacements.items():
        urls.handlers[positions[pattern]] = (pattern, handler)
    command.Flower, events.EventsState, events.EventReceiver = View, State, Receiver
    BaseHandler.set_default_headers = _set_default_headers
    BaseHandler.unauthenticated_api = False  # overrides FLOWER_UNAUTHENTICATED_API


def _set_default_headers(handler: BaseHandler) -> None:
    handler.set_header("X-Content-Type-Options", "nosniff")
    for name, value in NO_FRAMES.items():
        handler.set_header(name, value)

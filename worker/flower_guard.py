"""Flower as we let it run: it shows, revokes and drains, and no request does more or goes unasked.

Flower has no setting for any of this, so its table of handlers is changed before it makes its
application. A release of it with another table is refused rather than started half closed.
"""

from typing import Any, Final

from flower import command, events, urls
from flower.api import BaseApiHandler
from flower.views import BaseHandler
from flower.views.monitor import Metrics
from tornado.ioloop import IOLoop
from tornado.web import HTTPError, authenticated

from shared.errors import RunyardError
from worker.flower_view import Ear, State, View, demand

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
"""What would put messages into queues, or workers onto them, behind PostgreSQL's back."""

METRICS: Final = "/metrics"

NO_FRAMES: Final = {"X-Frame-Options": "DENY", "Content-Security-Policy": "frame-ancestors 'none'"}
"""A page of another site must not lay Flower's buttons under its own."""


class UnknownFlowerError(RunyardError):
    """This release of Flower is not laid out as we know it, so that it cannot be closed."""


class Off(BaseApiHandler):  # type: ignore[misc]  # Flower is untyped
    """A control that is not to be had."""

    def prepare(self) -> None:
        super().prepare()
        if self.get_current_user():
            raise HTTPError(403, "This control is off: runs are submitted and limited through the API.")
        raise HTTPError(401)


class GuardedMetrics(BaseApiHandler, Metrics):  # type: ignore[misc]  # Flower is untyped
    """The metrics, by the same leave as the API, and the demand for workers among them."""

    @authenticated
    async def get(self) -> None:
        await IOLoop.current().run_in_executor(None, demand().look)
        await super().get()


def guard() -> None:
    """Close Flower, and have it show what is so; again makes no difference.

    Raises:
        UnknownFlowerError: one of the handlers is not where we look for it.
    """
    replacements: dict[str, type[BaseHandler]] = {**dict.fromkeys(OFF, Off), METRICS: GuardedMetrics}
    places = {_pattern(handler): place for place, handler in enumerate(urls.handlers)}
    if missing := replacements.keys() - places.keys():
        raise UnknownFlowerError(f"{UnknownFlowerError.__doc__} Missing: {', '.join(sorted(missing))}.")
    for pattern, handler in replacements.items():
        urls.handlers[places[pattern]] = (pattern, handler)
    command.Flower, events.EventsState, events.EventReceiver = View, State, Ear
    BaseHandler.set_default_headers = _set_default_headers
    BaseHandler.unauthenticated_api = False  # whatever FLOWER_UNAUTHENTICATED_API says


def _pattern(handler: Any) -> str:
    if isinstance(handler, tuple):
        return str(handler[0])
    return str(handler.regex.pattern)


def _set_default_headers(handler: BaseHandler) -> None:
    handler.set_header("X-Content-Type-Options", "nosniff")
    for name, value in NO_FRAMES.items():
        handler.set_header(name, value)

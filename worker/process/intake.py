"""Checks of messages from the broker; a malformed one is dropped with one log line.

Any client of Redis can write to a queue, and another program may use a list of the same name. Celery and
kombu read every message unchecked in the worker's main loop: an error there would end the process and its
runs.
"""

import logging
from collections.abc import Callable, Container, Generator, Mapping
from contextlib import contextmanager
from functools import cache
from queue import Empty
from types import NoneType
from typing import Any, Final

import structlog

MAX_MESSAGE: Final = 1024 * 1024  # characters of an encoded body
MAX_TASK: Final = 16 * 1024  # bytes of a task's arguments; ours have 100
MAX_CONTROL: Final = 64 * 1024  # bytes of a control command; a revoke of 100 tasks has 4,300
MAX_LINE: Final = 500  # characters of a log line of Celery about a command
MAX_NAME: Final = 255  # characters of an id or a name
MAX_CLOCK: Final = 2**62  # of a logical clock, which processes pass on

NO_BACKEND: Final = "Failed to mark task %s as revoked in backend"
"""The beginning of a log line of Celery about a revoke: it misses a result backend."""

MAX_INSTANT: Final = 253_402_300_800  # epoch seconds: the year 10000

JSON: Final = ("application/json", "utf-8")

_KEPT: Final[Mapping[str, type | tuple[type, ...]]] = {
    "argsrepr": str,
    "id": str,
    "kwargsrepr": str,
    "lang": str,
    "origin": str,
    "parent_id": str,
    "root_id": str,
    "task": str,
}
"""The headers of a task that a worker reads, with their types. All others are removed."""

_DELAYS: Final = ("eta", "expires")
"""Headers that delay or expire a task in the worker's memory; our tasks have none."""

log = structlog.get_logger(__name__)


class MalformedMessageError(Exception):
    """A message is malformed. The error never quotes the message."""


def outages(*errors: tuple[type[Exception], ...]) -> tuple[type[Exception], ...]:
    """Return the transport's errors that mean an outage of Redis: all but KeyError, which kombu lists."""
    return tuple(one for several in errors for one in several if one is not KeyError)


def drop(reason: Exception, **where: object) -> None:
    """Log that a message was dropped, in one line that does not quote it."""
    words = str(reason) if isinstance(reason, MalformedMessageError) else type(reason).__name__
    log.warning("malformed message dropped", reason=words, **where)


def _expect(*, that: bool, otherwise: str) -> None:
    if not that:
        raise MalformedMessageError(otherwise)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME


def check_envelope(raw: Any) -> None:
    """Refuse an envelope that the transport cannot read.

    Raises:
        MalformedMessageError: with the fault.
    """
    _expect(that=isinstance(raw, dict), otherwise="not an object")
    properties, headers, body = raw.get("properties"), raw.get("headers"), raw.get("body")
    _expect(that=isinstance(properties, dict), otherwise="no properties")
    _expect(that=isinstance(headers, dict | None), otherwise="headers are not an object")
    _expect(that=_is_name(properties.get("delivery_tag")), otherwise="no delivery tag")
    delivery = properties.get("delivery_info")
    _expect(that=isinstance(delivery, dict), otherwise="no delivery info")
    for name in ("exchange", "routing_key"):
        _expect(that=isinstance(delivery.get(name), str), otherwise=f"no {name}")
    _expect(that=isinstance(body, str) and len(body) <= MAX_MESSAGE, otherwise="no body, or a huge one")
    _expect(that=properties.get("body_encoding") in {None, "base64"}, otherwise="unknown body encoding")
    _expect(that="compression" not in (headers or {}), otherwise="compressed")


def check_task(message: Any, known: Container[str]) -> None:
    """Refuse a message that is not a task of this worker; remove the headers that the worker does not read.

    Raises:
        MalformedMessageError: with the fault.
    """
    headers = {name: value for name in _KEPT if (value := message.headers.get(name)) is not None}
    for name, value in headers.items():
        _expect(that=isinstance(value, _KEPT[name]), otherwise=f"header {name} of a wrong type")
    _expect(that=_is_name(headers.get("task")), otherwise="no task named")
    _expect(that=headers["task"] in known, otherwise="unknown task")
    _expect(that=_is_name(headers.get("id")), otherwise="no id")
    for name in _DELAYS:
        _expect(that=message.headers.get(name) is None, otherwise=f"header {name}: our tasks never wait")
    _expect(
        that=(message.content_type, message.content_encoding) == JSON, otherwise="content type is not JSON"
    )
    _expect(that=len(message.body) <= MAX_TASK, otherwise="huge arguments")
    body = message.decode()
    is_triple = isinstance(body, list) and list(map(type, body)) in (
        [list, dict, dict],
        [list, dict, type(None)],
    )
    _expect(that=is_triple, otherwise="arguments in another form")
    _expect(that=not any((body[2] or {}).values()), otherwise="it asks for further tasks")
    message.headers = headers


def check_control(body: Any, headers: Mapping[str, Any], known: Container[str], *, size: int) -> None:
    """Refuse a message that is not a control command.

    Args:
        size: of the message's body, in bytes.

    Raises:
        MalformedMessageError: with the fault.
    """
    _expect(that=size <= MAX_CONTROL, otherwise="a huge command")
    _expect(that=isinstance(body, dict), otherwise="not an object")
    method, reply_to, clock = body.get("method"), body.get("reply_to"), headers.get("clock") or 0
    _expect(that=isinstance(method, str) and method in known, otherwise="unknown command")
    _expect(that=isinstance(body.get("arguments"), dict | None), otherwise="arguments are not an object")
    _expect(that=isinstance(body.get("destination"), list | None), otherwise="destination is not a list")
    _expect(that=isinstance(body.get("ticket"), str | None), otherwise="ticket is not a text")
    _expect(that=isinstance(clock, int) and abs(clock) < MAX_CLOCK, otherwise="impossible clock")
    if reply_to is not None:
        is_address = isinstance(reply_to, dict) and all(map(_is_name, reply_to.values()))
        _expect(
            that=is_address and {"exchange", "routing_key"} <= reply_to.keys(), otherwise="no reply address"
        )


def check_event(event: Any) -> None:
    """Refuse a message that is not an event of a worker or a task, for monitors.

    Raises:
        MalformedMessageError: with the fault.
    """
    _expect(that=isinstance(event, dict), otherwise="not an object")
    kind, clock = event.get("type"), event.get("clock", 0)
    at, offset = event.get("timestamp"), event.get("utcoffset", 0)
    _expect(that=_is_name(kind) and kind.startswith(("task-", "worker-")), otherwise="unknown event")
    _expect(that=_is_name(event.get("hostname")), otherwise="no worker named")
    _expect(that=not kind.startswith("task-") or _is_name(event.get("uuid")), otherwise="no task named")
    is_instant = isinstance(at, int | float) and 0 <= at < MAX_INSTANT
    _expect(that=is_instant, otherwise="impossible time")
    is_offset = isinstance(offset, int | float) and abs(offset) < MAX_CLOCK
    _expect(that=is_offset, otherwise="impossible time")
    _expect(that=isinstance(clock, int) and 0 <= clock < MAX_CLOCK, otherwise="impossible clock")
    for name, kinds in _EVENT_FIELDS.items():
        _expect(that=isinstance(event.get(name), kinds), otherwise=f"field {name} of a wrong type")


_EVENT_FIELDS: Final[Mapping[str, tuple[type, ...]]] = {
    **dict.fromkeys(
        ("name", "args", "kwargs", "root_id", "parent_id", "result", "exception"), (str, NoneType)
    ),
    **dict.fromkeys(("traceback", "sw_ident", "sw_ver", "sw_sys", "eta", "expires"), (str, NoneType)),
    **dict.fromkeys(("runtime", "freq"), (int, float, NoneType)),
    **dict.fromkeys(("retries", "pid", "active", "processed"), (int, NoneType)),
}
"""The fields of an event that monitors read, with their types."""


def make_tolerant(connection: Any, *, on_answer: Callable[[], object] = lambda: None) -> Any:
    """Make a kombu connection that is not open yet drop malformed messages; return it.

    Args:
        on_answer: called whenever the broker has answered what waits in the queues, if anything does.
    """
    transport = tolerant(connection.get_transport_cls(), on_answer)
    connection.get_transport_cls = lambda: transport  # keeps the name that `stats` reports
    return connection


def shorten_log_lines() -> None:
    """Cut log lines of Celery about malformed commands to one short line, without a traceback.

    For each revoke of a task that is not theirs, all workers would say that we have no result backend.
    """
    for name in ("kombu.pidbox", "celery.worker.control"):
        logging.getLogger(name).addFilter(_shorten)


def _shorten(record: logging.LogRecord) -> bool:
    if str(record.msg).startswith(NO_BACKEND):
        return False
    record.msg, record.args, record.exc_info = record.getMessage()[:MAX_LINE], (), None
    return True


@cache
def tolerant(transport: type, on_answer: Callable[[], object]) -> type:
    """Return kombu's Redis transport, changed to drop malformed messages and continue."""
    base: Any = transport
    message = type("Message", (_Message, base.Channel.Message), {})
    qos = type("QoS", (_QoS, base.Channel.QoS), {})
    own = {"Message": message, "QoS": qos, "_on_answer": staticmethod(on_answer)}
    channel = type("Channel", (_Channel, base.Channel), own)
    return type(transport.__name__, (transport,), {"Channel": channel})


class _Message:
    """A message whose envelope is checked first."""

    def __init__(self, payload: Any, **options: Any) -> None:
        check_envelope(payload)
        super().__init__(payload, **options)  # type: ignore[call-arg]  # of the class it is mixed with


class _Channel:
    """A channel that drops malformed messages, and has one client for its pool of connections."""

    connection_errors: tuple[type[Exception], ...]
    connection: Any
    pool: Any
    _client_of_pool: Any = None
    _on_answer: Callable[[], object]

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Generator[Any]:
        """Lend the client of the pool; kombu would make one for every acknowledgement."""
        if client is None:
            if getattr(self._client_of_pool, "connection_pool", None) is not self.pool:
                self._client_of_pool = super()._create_client()  # type: ignore[misc]  # of the class it is mixed with
            client = self._client_of_pool
        yield client

    def _brpop_read(self, **options: Any) -> Any:
        self._on_answer()
        return self._survive(lambda: super(_Channel, self)._brpop_read(**options), source="queue")  # type: ignore[misc]  # of the class it is mixed with

    def _receive_one(self, client: Any) -> Any:
        try:
            return self._survive(lambda: super(_Channel, self)._receive_one(client), source="control")  # type: ignore[misc]  # likewise
        except Empty:  # how kombu reports invalid JSON
            drop(MalformedMessageError("not JSON"), source="control")
            raise

    def _survive(self, read: Callable[[], Any], *, source: str) -> Any:
        passed_on = outages((Empty,), self.connection_errors, self.connection.channel_errors)
        try:
            return read()
        except passed_on:
            raise
        except Exception as error:  # noqa: BLE001  # a malformed message can raise anything; the log line names the type
            drop(error, source=source)
        return True


class _QoS:
    """The unacknowledged messages, among which Redis may hold malformed ones, too."""

    channel: Any

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:  # noqa: FBT001, FBT002  # kombu's
        try:
            super().restore_by_tag(tag, client, leftmost)  # type: ignore[misc]  # of the class it is mixed with
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            drop(error, source="unacknowledged")
            with self.channel.conn_or_acquire(client) as redis, redis.pipeline() as pipe:
                self._remove_from_indices(tag, pipe).execute()  # type: ignore[attr-defined]  # likewise

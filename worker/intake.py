"""What a worker takes from its broker: messages of ours. Anything else is dropped with one line.

Whoever can write to Redis can put anything into a queue, and so can another program that has a list
of the same name. Celery and its transport read what comes as if it were theirs, in the one thread
that keeps a worker process going: what they break on would end the process, and its runs with it.
"""

import logging
from collections.abc import Callable, Container, Mapping
from functools import cache
from queue import Empty
from types import NoneType
from typing import Any, Final

import structlog

MAX_MESSAGE: Final = 1024 * 1024  # characters of a body, as it travels
MAX_TASK: Final = 16 * 1024  # bytes of what a task is called with; ours have 100
MAX_CONTROL: Final = 64 * 1024  # bytes of a command; one that revokes a task has 200
MAX_LINE: Final = 500  # characters of what Celery says of a command
MAX_NAME: Final = 255  # characters of an id or a name
MAX_CLOCK: Final = 2**62  # of a logical clock, which is handed on from process to process

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
"""The headers of a task that are read here, and their types. What else others write is left unread."""

_DELAYS: Final = ("eta", "expires")
"""Headers that keep a message in a worker's memory, or throw it away later; ours are for now."""

log = structlog.get_logger(__name__)


class MalformedMessageError(Exception):
    """A message is none of ours. It never quotes the message."""


def outages(*errors: tuple[type[Exception], ...]) -> tuple[type[Exception], ...]:
    """Those of the transport's errors that say that Redis is away. A KeyError, to kombu, says so, too."""
    return tuple(one for several in errors for one in several if one is not KeyError)


def drop(reason: Exception, **where: object) -> None:
    """Note that a message is dropped, in one line that does not quote it."""
    words = str(reason) if isinstance(reason, MalformedMessageError) else type(reason).__name__
    log.warning("malformed message dropped", reason=words, **where)


def _expect(*, that: bool, otherwise: str) -> None:
    if not that:
        raise MalformedMessageError(otherwise)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME


def check_envelope(raw: Any) -> None:
    """Refuse what the transport could not read as a message.

    Raises:
        MalformedMessageError: saying what is wrong with it.
    """
    _expect(that=isinstance(raw, dict), otherwise="no object")
    properties, headers, body = raw.get("properties"), raw.get("headers"), raw.get("body")
    _expect(that=isinstance(properties, dict), otherwise="no properties")
    _expect(that=isinstance(headers, dict | None), otherwise="headers are no object")
    _expect(that=_is_name(properties.get("delivery_tag")), otherwise="no delivery tag")
    delivery = properties.get("delivery_info")
    _expect(that=isinstance(delivery, dict), otherwise="no delivery info")
    for name in ("exchange", "routing_key"):
        _expect(that=isinstance(delivery.get(name), str), otherwise=f"no {name}")
    _expect(that=isinstance(body, str) and len(body) <= MAX_MESSAGE, otherwise="no body, or a huge one")
    _expect(that=properties.get("body_encoding") in {None, "base64"}, otherwise="unknown body encoding")
    _expect(that="compression" not in (headers or {}), otherwise="compressed")


def check_task(message: Any, known: Container[str]) -> None:
    """Refuse what is no task that this worker executes; take away the headers that it leaves unread.

    Raises:
        MalformedMessageError: saying what is wrong with it.
    """
    headers = {name: value for name in _KEPT if (value := message.headers.get(name)) is not None}
    for name, value in headers.items():
        _expect(that=isinstance(value, _KEPT[name]), otherwise=f"header {name} of a wrong type")
    _expect(that=_is_name(headers.get("task")), otherwise="no task named")
    _expect(that=headers["task"] in known, otherwise="unknown task")
    _expect(that=_is_name(headers.get("id")), otherwise="no id")
    for name in _DELAYS:
        _expect(that=message.headers.get(name) is None, otherwise=f"header {name}: no task of ours waits")
    _expect(that=(message.content_type, message.content_encoding) == JSON, otherwise="no JSON by its type")
    _expect(that=len(message.body) <= MAX_TASK, otherwise="huge arguments")
    _check_body(message.decode())
    message.headers = headers


def _check_body(body: Any) -> None:
    is_triple = isinstance(body, list) and list(map(type, body)) in (
        [list, dict, dict],
        [list, dict, type(None)],
    )
    _expect(that=is_triple, otherwise="arguments in another form")
    _expect(that=not any((body[2] or {}).values()), otherwise="it asks for further tasks")


def check_control(body: Any, headers: Mapping[str, Any], known: Container[str], *, size: int) -> None:
    """Refuse what is no control command.

    Args:
        size: of the message's body, in bytes.

    Raises:
        MalformedMessageError: saying what is wrong with it.
    """
    _expect(that=size <= MAX_CONTROL, otherwise="a huge command")
    _expect(that=isinstance(body, dict), otherwise="no object")
    method, reply_to, clock = body.get("method"), body.get("reply_to"), headers.get("clock") or 0
    _expect(that=isinstance(method, str) and method in known, otherwise="unknown command")
    _expect(that=isinstance(body.get("arguments"), dict | None), otherwise="arguments are no object")
    _expect(that=isinstance(body.get("destination"), list | None), otherwise="destination is no list")
    _expect(that=isinstance(body.get("ticket"), str | None), otherwise="ticket is no text")
    _expect(that=isinstance(clock, int) and abs(clock) < MAX_CLOCK, otherwise="impossible clock")
    if reply_to is not None:
        is_address = isinstance(reply_to, dict) and all(map(_is_name, reply_to.values()))
        _expect(
            that=is_address and {"exchange", "routing_key"} <= reply_to.keys(), otherwise="no reply address"
        )


def check_event(event: Any) -> None:
    """Refuse what is no event of a worker or of a task, as monitors take them.

    Raises:
        MalformedMessageError: saying what is wrong with it.
    """
    _expect(that=isinstance(event, dict), otherwise="no object")
    kind, clock = event.get("type"), event.get("clock", 0)
    _expect(that=_is_name(kind) and kind.startswith(("task-", "worker-")), otherwise="unknown event")
    _expect(that=_is_name(event.get("hostname")), otherwise="no worker named")
    _expect(that=not kind.startswith("task-") or _is_name(event.get("uuid")), otherwise="no task named")
    _expect(that=_is_instant(event.get("timestamp")), otherwise="impossible time")
    _expect(that=_is_number(event.get("utcoffset", 0)), otherwise="impossible time")
    _expect(that=isinstance(clock, int) and 0 <= clock < MAX_CLOCK, otherwise="impossible clock")
    for name, kinds in _TOLD.items():
        _expect(that=isinstance(event.get(name), kinds), otherwise=f"field {name} of a wrong type")


_TOLD: Final[Mapping[str, tuple[type, ...]]] = {
    **dict.fromkeys(
        ("name", "args", "kwargs", "root_id", "parent_id", "result", "exception"), (str, NoneType)
    ),
    **dict.fromkeys(("traceback", "sw_ident", "sw_ver", "sw_sys", "eta", "expires"), (str, NoneType)),
    **dict.fromkeys(("runtime", "freq"), (int, float, NoneType)),
    **dict.fromkeys(("retries", "pid", "active", "processed"), (int, NoneType)),
}
"""The fields of an event that monitors compute with, and their types."""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) < MAX_CLOCK


def _is_instant(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value < MAX_INSTANT


def make_tolerant(connection: Any) -> Any:
    """Have a connection of kombu's that is not open yet drop what is no message; return it."""
    transport = tolerant(connection.get_transport_cls())
    connection.get_transport_cls = lambda: transport  # what it calls itself, `stats` tells, stays
    return connection


def keep_lines_short() -> None:
    """Keep what Celery says of a command that makes no sense to one short line, without a traceback."""
    for name in ("kombu.pidbox", "celery.worker.control"):
        logging.getLogger(name).addFilter(_shorten)


def _shorten(record: logging.LogRecord) -> bool:
    record.msg, record.args, record.exc_info = record.getMessage()[:MAX_LINE], (), None
    return True


@cache
def tolerant(transport: type) -> type:
    """A transport of kombu's for Redis that drops what is no message, and goes on."""
    base: Any = transport
    message = type("Message", (_Message, base.Channel.Message), {})
    qos = type("QoS", (_QoS, base.Channel.QoS), {})
    channel = type("Channel", (_Channel, base.Channel), {"Message": message, "QoS": qos})
    return type(transport.__name__, (transport,), {"Channel": channel})


class _Message:
    """A message whose envelope was looked at first."""

    def __init__(self, payload: Any, **options: Any) -> None:
        check_envelope(payload)
        super().__init__(payload, **options)  # type: ignore[call-arg]  # of what it is mixed with


class _Channel:
    """A channel that survives what it reads."""

    connection_errors: tuple[type[Exception], ...]
    connection: Any

    def _brpop_read(self, **options: Any) -> Any:
        return self._survive(lambda: super(_Channel, self)._brpop_read(**options), source="queue")  # type: ignore[misc]  # of what it is mixed with

    def _receive_one(self, client: Any) -> Any:
        try:
            return self._survive(lambda: super(_Channel, self)._receive_one(client), source="control")  # type: ignore[misc]  # likewise
        except Empty:  # so kombu calls what is no JSON
            drop(MalformedMessageError("no JSON"), source="control")
            raise

    def _survive(self, read: Callable[[], Any], *, source: str) -> Any:
        passed_on = outages((Empty,), self.connection_errors, self.connection.channel_errors)
        try:
            return read()
        except passed_on:
            raise
        except Exception as error:  # noqa: BLE001  # whatever garbage brings about; the line names its type
            drop(error, source=source)
        return True


class _QoS:
    """The books of what is not acknowledged, in which Redis may hold anything, too."""

    channel: Any

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:  # noqa: FBT001, FBT002  # kombu's
        try:
            super().restore_by_tag(tag, client, leftmost)  # type: ignore[misc]  # of what it is mixed with
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            drop(error, source="unacknowledged")
            with self.channel.conn_or_acquire(client) as redis, redis.pipeline() as pipe:
                self._remove_from_indices(tag, pipe).execute()  # type: ignore[attr-defined]  # likewise

"""Logging by structlog, in one format for all loggers of a process."""

import json
import logging
import os
import re
import sys
import threading
import traceback
import uuid
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import structlog
from pydantic import SecretStr

from shared.log_levels import FLOORS, parse_levels
from shared.log_sink import LogSink
from shared.settings import Settings
from shared.terminal import visible, visible_line

MIN_SECRET: Final = 6
"""Characters of the shortest password that lines are searched for; a shorter one would stand everywhere."""

MAX_CAUSES: Final = 5  # of an error, that a line tells of
MAX_FRAMES: Final = 30  # of each of them

_API_KEY = re.compile(r"ry_[A-Za-z0-9_-]{43,}")


def configure_logging(
    settings: Settings,
    *,
    process: str,
    number: int | None = None,
    worker: Callable[[], str] | None = None,
    redact: Callable[[str], str] | None = None,
) -> None:
    """Configure logging for a process: each line has its kind, its number, and what its context tells.

    Lines of libraries have the same form. Lines are written by a thread (`shared.log_sink`).

    Args:
        process: the kind of the process.
        number: its number, if there are several below one supervisor.
        worker: returns the name of the worker, if the process is one.
        redact: removes further secrets from a rendered line, beside passwords of settings and API keys.
    """
    shared_processors: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        _adds(process, number, worker),
    ]
    renderer: list[structlog.types.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if settings.log_format == "json"
        else [
            _in_one_line,
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
            _harmless,
        ]
    )
    renderer.append(_hides(settings))
    if redact is not None:
        renderer.append(lambda _logger, _name, line: redact(str(line)))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared_processors,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared_processors,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
    )
    handler = LogSink(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    _set_levels(parse_levels(settings.log_levels))


def flush_logs() -> None:
    """Wait until the lines of this process are written, a second at most: before an end without cleanup."""
    for handler in logging.getLogger().handlers:
        handler.flush()


def log_uncaught() -> None:
    """Log warnings of Python and exceptions that nobody caught, in the form of all other lines."""
    log = structlog.get_logger("uncaught")
    logging.captureWarnings(capture=True)

    def in_main(kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
        if isinstance(error, KeyboardInterrupt):
            return
        log.critical("process ends by an exception", error_type=kind.__name__, exc_info=error)

    def in_thread(event: threading.ExceptHookArgs) -> None:
        if event.exc_value is not None and not isinstance(event.exc_value, SystemExit):
            thread = event.thread.name if event.thread else None
            log.critical("thread ends by an exception", thread=thread, exc_info=event.exc_value)

    sys.excepthook = in_main
    threading.excepthook = in_thread


_QUIET: Final = {
    # Without a result backend Celery warns once for each revoke that it cannot record it.
    "celery.worker.request": logging.ERROR,
    "celery.app.trace": logging.ERROR,
    "celery.worker.strategy": logging.WARNING,
    "sqlalchemy": logging.WARNING,  # every statement
}
"""Levels of libraries that say too much, unless `RUNYARD_LOG_LEVELS` names them."""


def _set_levels(wanted: Mapping[str, int]) -> None:
    """Set the levels of loggers. None stays below its floor, whatever level it inherits."""
    for name in FLOORS:
        logging.getLogger(name).setLevel(logging.NOTSET)
    for name, level in {**_QUIET, **wanted}.items():
        logging.getLogger(name).setLevel(level)
    for name, floor in FLOORS.items():
        logger = logging.getLogger(name)
        logger.setLevel(max(floor, logger.getEffectiveLevel()))


def _hides(settings: Settings) -> structlog.types.Processor:
    """Replace API keys, and the passwords of settings, in a rendered line."""
    values = {
        password: f"[{label}]"
        for name, value in settings
        if isinstance(value, SecretStr)
        for label in [f"RUNYARD_{name.upper()}"]
        for password in _passwords_in(value.get_secret_value())
    }
    longest_first = sorted(values, key=len, reverse=True)

    def hide(_logger: structlog.types.WrappedLogger, _name: str, rendered: Any) -> str:
        line = str(rendered)
        for password in longest_first:
            if password in line:
                line = line.replace(password, values[password])
        return _API_KEY.sub("[API key]", line) if "ry_" in line else line

    return hide


def _passwords_in(secret: str) -> set[str]:
    """The forms in which a line may quote a secret setting: whole, and its password, also decoded."""
    try:
        parts = urlsplit(secret)
        password = parts.password or ""
    except ValueError:  # no URL that can be parsed
        password = ""
    pairs = [pair.partition(":")[2] for pair in secret.split(",")] if "://" not in secret else []
    found = {secret, password, unquote(password), *pairs, *map(str.strip, pairs)}
    return {form for one in found for form in (one, json.dumps(one)[1:-1]) if len(form) >= MIN_SECRET}


_noted: ContextVar[dict[str, str] | None] = ContextVar("noted", default=None)
"""Fields for the log line at the end of a request, shared by all threads that work for it."""


@contextmanager
def noting() -> Generator[Mapping[str, str]]:
    """Collect the fields that `note` adds during the block, in any thread with its context."""
    noted: dict[str, str] = {}
    token = _noted.set(noted)
    try:
        yield noted
    finally:
        _noted.reset(token)


def note(**fields: str) -> None:
    """Add fields to the log line of the current request; outside a request nothing happens."""
    noted = _noted.get()
    if noted is not None:
        noted.update(fields)


@contextmanager
def about_run(run_id: uuid.UUID, attempt: int, **more: Any) -> Generator[None]:
    """Name a run and its attempt in the log lines of a block; `tell_of_run` adds what is known later."""
    with structlog.contextvars.bound_contextvars(run_id=str(run_id), attempt=attempt, **more):
        try:
            yield
        finally:
            structlog.contextvars.unbind_contextvars("organization_id", "trace_id")


def tell_of_run(*, organization_id: uuid.UUID, trace_id: str) -> None:
    """Add what the row of a run says to the log lines of the present `about_run`."""
    structlog.contextvars.bind_contextvars(organization_id=str(organization_id), trace_id=trace_id)


def frames_of(error: BaseException) -> str:
    """Where an error was raised, and nothing of its message: foreign code may have quoted a user in it."""
    chain: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in chain and len(chain) < MAX_CAUSES:
        chain.append(one)
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    return "\n".join(
        f"{type(each).__qualname__}\n{''.join(traceback.format_tb(each.__traceback__, MAX_FRAMES))}".rstrip()
        for each in chain
    )


def _adds(process: str, number: int | None, worker: Callable[[], str] | None) -> structlog.types.Processor:
    def add(
        _logger: structlog.types.WrappedLogger, _name: str, event: structlog.types.EventDict
    ) -> structlog.types.EventDict:
        event.setdefault("process", process)
        event.setdefault("pid", os.getpid())
        if number is not None:
            event.setdefault("number", number)
        if worker is not None:
            event.setdefault("worker", worker())
        return event

    return add


def _in_one_line(
    _logger: structlog.types.WrappedLogger, _name: str, event: structlog.types.EventDict
) -> structlog.types.EventDict:
    """Escape line breaks in the event, so that it cannot forge a line of the log."""
    event["event"] = visible_line(str(event.get("event", "")))
    return event


def _harmless(_logger: structlog.types.WrappedLogger, _name: str, rendered: Any) -> str:
    return visible(rendered)

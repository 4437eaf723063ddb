"""Logging: structlog, one format for every logger of a process."""

import logging
import logging.config
import os
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import structlog

from shared.processes.hidden import is_hidden
from shared.settings import Settings
from shared.terminal import visible, visible_line


def configure_logging(
    settings: Settings,
    *,
    process: str,
    worker: Callable[[], str] | None = None,
    blot: Callable[[str], str] | None = None,
) -> None:
    """Set up logging for a process; its name is in every line, and no secret ever is.

    Args:
        worker: tells what the worker is called, if it is one.
        blot: takes secrets out of a line as it is written, escapes and all.
    """
    shared_processors: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        _adds(process, worker),
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
    if blot is not None:
        renderer.append(lambda _logger, _name, line: blot(str(line)))
    structlog.configure(
        processors=[*shared_processors, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared_processors,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
    )
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(level)
    if not is_hidden():
        root.info("memory not hidden from this user's other processes")


_QUIET = {
    # Without a result backend Celery warns once for each revoke that it cannot record it.
    "celery.worker.request": logging.ERROR,
    "celery.app.trace": logging.ERROR,
    "celery.worker.strategy": logging.WARNING,
    # It quotes what it cannot read; who listens by it says in one line that something was dropped.
    "kombu.transport.redis": logging.ERROR,
    "httpx": logging.WARNING,
    "httpx2": logging.WARNING,
}


_noted: ContextVar[dict[str, str] | None] = ContextVar("noted", default=None)
"""For the line that will tell of what is under way: the same dictionary in every thread that works for it."""


@contextmanager
def noting() -> Generator[Mapping[str, str]]:
    """Give what is noted during the block, in any thread with its context, to who tells of its end."""
    noted: dict[str, str] = {}
    token = _noted.set(noted)
    try:
        yield noted
    finally:
        _noted.reset(token)


def note(**fields: str) -> None:
    """Have the line that tells of a request name what it was about; outside of one nothing happens."""
    noted = _noted.get()
    if noted is not None:
        noted.update(fields)


def _adds(process: str, worker: Callable[[], str] | None) -> structlog.types.Processor:
    def add(
        _logger: structlog.types.WrappedLogger, _name: str, event: structlog.types.EventDict
    ) -> structlog.types.EventDict:
        event.setdefault("process", process)
        if worker is not None:
            event.setdefault("worker", worker())
            event.setdefault("pid", os.getpid())
        return event

    return add


def _in_one_line(
    _logger: structlog.types.WrappedLogger, _name: str, event: structlog.types.EventDict
) -> structlog.types.EventDict:
    """Keep what is said from looking like another line of the log; values are quoted by themselves."""
    event["event"] = visible_line(str(event.get("event", "")))
    return event


def _harmless(_logger: structlog.types.WrappedLogger, _name: str, rendered: Any) -> str:
    return visible(rendered)

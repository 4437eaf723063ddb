"""The start of every server process: settings, logging, check of the schema, pulse."""

from collections.abc import Iterable
from typing import Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from shared.db import make_engine, words_of
from shared.errors import RunyardError
from shared.logs import configure_logging, log_uncaught
from shared.migrations.schema import is_current
from shared.processes.hidden import is_hidden
from shared.processes.invocation import runyard
from shared.processes.pulse import Kind, Limits, Part, Pulse
from shared.settings import Settings, get_settings
from shared.tracing import demand_exporter

LEAST_SILENCE: Final = 10.0  # seconds of silence that a probe never holds against a process

log = structlog.get_logger(__name__)


class DatabaseBehindError(RunyardError):
    """The database lacks tables of this release."""

    def __init__(self) -> None:
        super().__init__(f"The database lacks tables of this release: run `{runyard('migrate')}` first.")


def begin(process: str) -> Settings:
    """Read the settings and configure logging.

    Raises:
        pydantic.ValidationError: a variable has a value of the wrong kind, or a required one is missing.
        shared.errors.RunyardError: another error of `get_settings`.
        TracingUnavailableError: spans are to be exported, and the extra `otel` is not installed.
    """
    settings = get_settings()
    configure_logging(settings, process=process)
    log_uncaught()
    demand_exporter(settings)
    if not is_hidden():
        log.info("memory not hidden from this user's other processes")
    return settings


def demand_schema(settings: Settings) -> None:
    """Check that the database has the schema of this release.

    An unreachable database is only logged: it may come back, and until then requests report it.

    Raises:
        DatabaseBehindError: migrations of this release are missing.
    """
    engine = make_engine(settings, pool_size=1)
    try:
        if not is_current(engine):
            raise DatabaseBehindError
    except SQLAlchemyError as error:
        log.warning("database cannot be used yet", error=words_of(error))
    finally:
        engine.dispose()


def probe_limit(settings: Settings) -> float:
    """Seconds of silence for which a probe fails: two leases, so that a supervisor is faster."""
    return max(LEAST_SILENCE, 2 * settings.lease_ttl.total_seconds())


def begin_pulse(
    kind: Kind, name: str, limits: Limits, *, part: Part = Part.PROCESS, queues: Iterable[str] = ()
) -> Pulse:
    """Show the life of this process to `runyard health`.

    A directory that cannot be used is logged, and ends nothing: no run depends on a probe.

    Args:
        name: what the process is called, for people.
        queues: the keys of the Redis lists that it takes runs from.
    """
    try:
        return Pulse.open(kind, name, limits, part=part, queues=queues)
    except OSError as error:
        log.warning("`runyard health` cannot see this process", error=str(error))
        return Pulse.unseen()

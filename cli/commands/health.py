"""`runyard health`: is a process of this machine to be replaced? For liveness probes."""

import os
import time
from pathlib import Path
from typing import Annotated, Final

import typer

from cli.asking import answers_within
from cli.choices import choice
from cli.console import output_line
from cli.local.dev_file import DATA_DIR, find_dev_file
from shared.errors import RunyardError
from shared.processes.health import Fault, Unless, find_faults, summary
from shared.processes.pulse import DIRECTORY, Kind, Reading, health_directory, read_pulses

app = typer.Typer(add_completion=False)

WAIT: Final = 3.0  # seconds for a silent process to show life: the machine may just have slept
LOOK_INTERVAL: Final = 0.25  # seconds
ANSWER_TIMEOUT: Final = 4.0  # seconds for a server whose outage would be the excuse


class UnhealthyError(RunyardError):
    """A process should be replaced, or is not there."""


@app.command()
def health(
    kind: Annotated[Kind, typer.Argument(help="The kind of process.", **choice(Kind))],
    *,
    data_dir: Annotated[
        Path, typer.Option(help="The directory of `runyard dev`, if it runs here.")
    ] = DATA_DIR,
) -> None:
    """Check that the processes of a kind on this machine live and do their work.

    A busy process is healthy, and so is one whose PostgreSQL or Redis is away. The command answers at once if
    all is well, else after up to 10 seconds. Exit codes: 0 healthy; 1 a process is missing or to be replaced.
    """
    directory = _directory(data_dir)
    deadline = time.monotonic() + WAIT
    readings, faults = _look(directory, kind)
    while faults and time.monotonic() < deadline:
        time.sleep(LOOK_INTERVAL)
        readings, faults = _look(directory, kind)
    if not readings:
        raise UnhealthyError(f"No {kind} runs here: there is no pulse of a living one in {directory}.")
    if real := [fault.sentence for fault in faults if not _is_excused(fault, data_dir)]:
        raise UnhealthyError(" ".join(real))
    output_line(summary(readings))


def _directory(data_dir: Path) -> Path:
    """The directory that the environment names, else that of `runyard dev`, else the default."""
    if not os.environ.get(DIRECTORY) and find_dev_file(data_dir) is not None:
        return data_dir / "health"
    return health_directory(os.environ)


def _look(directory: Path, kind: Kind) -> tuple[list[Reading], list[Fault]]:
    try:
        readings = read_pulses(directory, kind)
    except (OSError, ValueError) as error:
        raise UnhealthyError(f"Pulses cannot be read: {error}.") from error
    return readings, find_faults(readings, now=time.monotonic())


def _is_excused(fault: Fault, data_dir: Path) -> bool:
    match fault.unless:
        case Unless.NO_WORK:
            return not answers_within(ANSWER_TIMEOUT, lambda: _has_work(fault.reading, data_dir))
        case Unless.DATABASE_AWAY:
            return not answers_within(ANSWER_TIMEOUT, lambda: _database_answers(data_dir))
    return False


def _has_work(reading: Reading, data_dir: Path) -> bool:
    """Whether messages wait in the queues of a worker; False if Redis cannot be asked."""
    # A probe is to be fast, and only a suspect needs these.
    import redis  # noqa: PLC0415

    from cli.database_access import database_settings  # noqa: PLC0415
    from shared.events.channels import make_redis  # noqa: PLC0415

    try:
        with make_redis(database_settings(data_dir)) as client:
            return any(client.llen(queue) for queue in reading.queues)
    except redis.RedisError:
        return False


def _database_answers(data_dir: Path) -> bool:
    from sqlalchemy import text  # noqa: PLC0415  # likewise

    from cli.database_access import database_settings  # noqa: PLC0415
    from cli.database_sessions import DatabaseRefusedError, one_session  # noqa: PLC0415

    try:
        with one_session(database_settings(data_dir)) as session:
            return session.scalar(text("SELECT true")) is True
    except DatabaseRefusedError:
        return False

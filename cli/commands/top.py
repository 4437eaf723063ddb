"""`runyard top`: the workload, live."""

import time
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated, Any, Final

import orjson
import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text
from sqlalchemy import Engine

from cli import console
from cli.commands import queues, workers
from cli.database_access import DataDir, database_settings
from cli.database_sessions import DatabaseRefusedError
from cli.durations import ago
from cli.exit_codes import EXIT_FAILURE
from cli.listing import plain
from cli.local.dev_file import DATA_DIR
from cli.operation import workload
from cli.operation.reading import TooSlowError, reader, reading
from cli.operation.runs import RunQuery, list_runs
from cli.operation.workload import Queue, Sample, Worker
from cli.tables import Column, Fit, Table, cell
from shared.lifecycle import RunStatus
from shared.settings import Settings

FAILURES: Final = 5
"""Failed runs in a frame."""

MAX_LINES: Final = 50
"""Queues, and workers, in a frame for people; JSON has all."""

FAILED: Final = frozenset({RunStatus.ERROR, RunStatus.FAILED})

FAILURE_COLUMNS: Final = (
    Column("created"),
    Column("run_id"),
    Column("status"),
    Column("reason"),
    Column("organization", Fit.CUT, is_below=True),
    Column("message", Fit.CUT, is_below=True),
)

MAX_MESSAGE: Final = 120
"""Characters of a failure's message in a frame for people."""

app = typer.Typer(add_completion=False)


@dataclass(frozen=True, slots=True)
class Frame:
    """What is seen at one moment."""

    at: datetime
    active: dict[RunStatus, int]
    created_per_minute: int
    ended_per_minute: dict[RunStatus, float] | None
    queues: list[Queue]
    workers: list[Worker]
    failures: list[dict[str, Any]]
    fault: str | None  # why Redis is not seen


@app.command()
def top(
    *,
    once: Annotated[
        bool, typer.Option("--once", help="Print one frame, after one interval, and exit.")
    ] = False,
    interval: Annotated[
        float, typer.Option(min=0.2, max=3600, metavar="SECONDS", help="The time between two frames.")
    ] = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print each frame as a line of JSON.")] = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Show the workload live: runs, queues, workers and the newest failures.

    Ctrl-C ends it. A narrow terminal shows fewer columns.
    On a terminal the frame is redrawn, elsewhere each frame is printed below the last. The runs that ended
    per minute are measured over an interval, those that were created over a minute.

    Exit codes: 0 ended by Ctrl-C or after --once, 1 PostgreSQL or Redis was away in the frame of --once.
    """
    settings = database_settings(data_dir)
    with reader(settings) as engine:
        try:
            if once:
                _print_once(engine, settings, interval, as_json=as_json)
            elif console.is_terminal() and not as_json:
                _draw(engine, settings, interval)
            else:
                _print_all(engine, settings, interval, as_json=as_json)
        except KeyboardInterrupt:
            return


def _print_once(engine: Engine, settings: Settings, interval: float, *, as_json: bool) -> None:
    before = _sample(engine)
    time.sleep(interval)
    frame, _ = look(engine, settings, before)
    _print(frame, as_json=as_json)
    if frame.fault is not None:
        console.failure(frame.fault)
        raise typer.Exit(EXIT_FAILURE)


def _print_all(engine: Engine, settings: Settings, interval: float, *, as_json: bool) -> None:
    before: Sample | None = None
    while True:
        try:
            frame, before = look(engine, settings, before)
            _print(frame, as_json=as_json)
        except (DatabaseRefusedError, TooSlowError) as error:
            before = None
            console.failure(error.message)
        time.sleep(interval)


def _draw(engine: Engine, settings: Settings, interval: float) -> None:
    before: Sample | None = None
    with Live(console=console.answers(), screen=True, auto_refresh=False) as live:
        while True:
            try:
                frame, before = look(engine, settings, before)
                live.update(drawn(frame), refresh=True)
            except (DatabaseRefusedError, TooSlowError) as error:
                before = None
                live.update(Text(cell(error.message), style="bold red"), refresh=True)
            time.sleep(interval)


def _sample(engine: Engine) -> Sample:
    with reading(engine) as session:
        return workload.read_sample(session)


def look(engine: Engine, settings: Settings, before: Sample | None) -> tuple[Frame, Sample]:
    """Return what is seen now, and the sample for the next frame.

    Raises:
        cli.operation.reading.TooSlowError, cli.database_sessions.DatabaseRefusedError: PostgreSQL failed.
    """
    broker = workload.ask_workers(engine, settings)
    with reading(engine) as session:
        sample = workload.read_sample(session)
        frame = Frame(
            at=sample.at,
            active=workload.active_runs(session),
            created_per_minute=workload.created_last_minute(session),
            ended_per_minute=None if before is None else sample.per_minute(before),
            queues=workload.read_queues(session, settings, broker),
            workers=workload.read_workers(session, settings, broker),
            failures=list_runs(session, RunQuery(limit=FAILURES, statuses=FAILED)).rows,
            fault=broker.fault,
        )
    return frame, sample


def _print(frame: Frame, *, as_json: bool) -> None:
    if as_json:
        options = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_NON_STR_KEYS  # statuses as keys
        console.output_json(asdict(frame), default=plain, option=options)
    else:
        console.output_block(drawn(frame))


def drawn(frame: Frame) -> RenderableType:
    """A frame for people. Text of tenants steers no terminal."""
    active = ", ".join(f"{count} {status}" for status, count in frame.active.items())
    lines = [Text(f"{plain(frame.at)}   {active}"), Text(_rates(frame))]
    if frame.fault is not None:
        lines.append(Text(cell(frame.fault), style="bold red"))
    failures = [
        {
            **run,
            "created": ago((frame.at - run["created_at"]).total_seconds()),
            "reason": run["reason"] or "",
            "message": (run["message"] or "")[:MAX_MESSAGE],
        }
        for run in frame.failures
    ]
    return Group(
        *lines,
        Text(),
        Table([queues.queue_row(queue) for queue in frame.queues[:MAX_LINES]], queues.COLUMNS),
        Text(),
        Table([workers.worker_row(worker) for worker in frame.workers[:MAX_LINES]], workers.COLUMNS),
        Text(),
        Table(failures, FAILURE_COLUMNS),
    )


def _rates(frame: Frame) -> str:
    created = f"per minute: {frame.created_per_minute} created"
    if frame.ended_per_minute is None:
        return created
    ended = [f"{rate:.0f} {status}" for status, rate in sorted(frame.ended_per_minute.items()) if rate > 0]
    return f"{created}, {', '.join(ended) or 'none ended'}"

"""`runyard drill`: faults under load, and a verdict on every promise."""

import os
import secrets
import shutil
import tempfile
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final

import orjson
import typer

from cli.commands.dev import stop_requested
from cli.console import notice, output, output_table
from cli.drill.drill import Drill, DrillStoppedError, Result
from cli.drill.faults import FAULTS, Timings, reachable
from cli.drill.plan import make_plan
from cli.drill.report import as_json, tables, write_json
from cli.drill.target import PROCESSES, Target
from cli.exit_codes import EXIT_PROMISE_BROKEN
from cli.listing import counted
from cli.local.dev_file import DATA_DIR
from cli.local.development import Options, development
from cli.local.private_files import scratch_directory
from cli.local.stack import Exit
from shared.errors import InvalidRequestError
from shared.settings import Settings

app = typer.Typer(add_completion=False)

SHORTENED: Final = MappingProxyType(
    {
        "RUNYARD_LEASE_TTL": "4",
        "RUNYARD_HEARTBEAT": "1",
        "RUNYARD_RECONCILE_INTERVAL": "1",
        "RUNYARD_REPUBLISH_AFTER": "3",
        "RUNYARD_CANCEL_GRACE": "2",
        "RUNYARD_DRAIN_GRACE": "2",
        "RUNYARD_STREAM_REREAD": "2",
        "RUNYARD_ECHO_WORDS_PER_SECOND": "20",
    }
)
"""Settings of the drill's own system, unless the environment sets them: short, so that a minute suffices."""


@dataclass(frozen=True, slots=True)
class DrillOptions:
    """The options of a drill."""

    seed: int
    duration: float
    runs: int
    faults: str | None
    readers: int
    cancels: float
    bound: float


@app.command()
def drill(  # noqa: PLR0913  # each is an option
    *,
    seed: Annotated[
        int | None,
        typer.Option(
            help="The seed of the plan. The same seed and options repeat a plan.", show_default="random"
        ),
    ] = None,
    duration: Annotated[float, typer.Option(min=1, help="Seconds of load and faults.")] = 90,
    runs: Annotated[int, typer.Option(min=1, help="Runs to submit.")] = 200,
    faults: Annotated[
        str | None,
        typer.Option(
            help="Names of faults, separated by commas, or `none`.", show_default="all within reach"
        ),
    ] = None,
    readers: Annotated[int, typer.Option(min=0, help="Readers per run.")] = 2,
    cancels: Annotated[float, typer.Option(min=0, max=1, help="The share of runs that are cancelled.")] = 0.2,
    bound: Annotated[
        float, typer.Option(min=1, help="Seconds after the last fault within which every run must end.")
    ] = 60,
    report: Annotated[Path | None, typer.Option(help="A file for a JSON report.")] = None,
    list_faults: Annotated[bool, typer.Option("--list-faults", help="List the faults and exit.")] = False,
    url: Annotated[
        str | None, typer.Option(help="The API of a running system, instead of an own one.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="An API key of the running system.")] = None,
    database_url: Annotated[str | None, typer.Option(help="Its PostgreSQL, to check the rows.")] = None,
    redis_url: Annotated[str | None, typer.Option(help="Its Redis, for the fault that empties it.")] = None,
    pids: Annotated[
        str | None,
        typer.Option(help="Its process ids, as `worker=12,api=34`, or the path of a dev.json."),
    ] = None,
    yes_inject_faults: Annotated[
        bool, typer.Option("--yes-inject-faults", help="Confirm that faults may harm the running system.")
    ] = False,
) -> None:
    """Submit load, inject faults, and check every promise from outside.

    Without --url, the drill starts a system of its own.
    It keeps the data and logs of that system if a promise is broken.

    Exit codes: 0 every promise was kept, 3 a promise was broken, 1 the drill failed.
    """
    if list_faults:
        for kind in FAULTS.values():
            output(
                f"{kind.name:16} {kind.summary} Needs: {', '.join(sorted(kind.needs)) or 'any two parts'}."
            )
        return
    options = DrillOptions(
        secrets.randbelow(2**31) if seed is None else seed, duration, runs, faults, readers, cancels, bound
    )
    with stop_requested() as stopping:
        if url is None:
            result, settings = _on_own_system(options, stopping)
        else:
            _require(key is not None, "--url needs --key.")
            _require(yes_inject_faults, "Faults harm the running system: confirm with --yes-inject-faults.")
            known = _pids_from(pids)
            target = Target(
                url, key or "", database_url, redis_url, known, restarts=_is_file(pids), tick=lambda: None
            )
            result, settings = _run(target, options, Settings.model_construct(), {}, stopping)
    for table in tables(result, settings):
        output_table(table)
    if report is not None:
        write_json(report, as_json(result, settings))
    broken = [verdict.name for verdict in result.verdicts if not verdict.is_kept]
    output(f"Broken: {', '.join(broken)}." if broken else "Every promise was kept.")
    raise typer.Exit(0 if result.is_kept else EXIT_PROMISE_BROKEN)


def _on_own_system(options: DrillOptions, stopping: threading.Event) -> tuple[Result, dict[str, Any]]:
    chosen = {name: value for name, value in SHORTENED.items() if name not in os.environ}
    os.environ.update(chosen)
    with (
        _directory() as (directory, keep),
        development(Options(directory, port=0), report=_print_exit) as running,
    ):
        notice(f"Starting everything in {directory}.")
        if not running.wait_until_ready(stopping):
            raise DrillStoppedError
        shortened = {name: os.environ[name] for name in SHORTENED}
        known = Settings.model_validate(
            {"database_url": running.file.database_url, "redis_url": running.file.redis_url}
        )
        target = Target(
            api_url=running.file.api_url,
            api_key=running.file.api_key,
            database_url=running.file.database_url,
            redis_url=running.redis_admin_url,
            pids=lambda: running.file.pids,
            restarts=True,
            tick=running.check,
        )
        result, settings = _run(target, options, known, shortened, stopping)
        if not result.is_kept:
            keep()
            notice(f"Data and logs are kept in {directory}.")
    return result, settings


@contextmanager
def _directory() -> Generator[tuple[Path, Callable[[], None]]]:
    """A temporary directory, and a function that keeps it."""
    directory = Path(tempfile.mkdtemp(prefix="drill-", dir=scratch_directory(DATA_DIR)))
    kept = threading.Event()
    try:
        yield directory, kept.set
    finally:
        if not kept.is_set():
            shutil.rmtree(directory, ignore_errors=True)


def _print_exit(ended: Exit) -> None:
    notice(f"          {ended.name} died: {ended.why}; restarted in {ended.restart_in:g} s.")


def _run(
    target: Target,
    options: DrillOptions,
    known: Settings,
    shortened: Mapping[str, str],
    stopping: threading.Event,
) -> tuple[Result, dict[str, Any]]:
    timings = Timings(known.lease_ttl.total_seconds(), known.reconcile_interval.total_seconds())
    names = _chosen(options.faults, target)
    plan = make_plan(
        seed=options.seed,
        runs=options.runs,
        duration=options.duration,
        faults=[(name, FAULTS[name].expected_hold(timings)) for name in names],
        readers=options.readers,
        cancels=options.cancels,
    )
    settings = {
        "seed": options.seed,
        "runs": options.runs,
        "duration": f"{options.duration:g} s",
        "readers of each run": options.readers,
        "share of cancels": options.cancels,
        "faults": ", ".join(names) or "none",
        **shortened,
    }
    notice(
        f"Seed {options.seed}: {counted(options.runs, 'run')}, up to {counted(len(plan.faults), 'fault')}."
    )
    return Drill(target, plan, timings, bound=options.bound, say=notice).run(stopping), settings


def _chosen(names: str | None, target: Target) -> list[str]:
    """Return the given faults, or all within reach.

    Raises:
        InvalidRequestError: a name is unknown, or its fault is out of reach.
    """
    within = reachable(target.reach)
    if names is None:
        return within
    wanted = [] if names == "none" else [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        _require(name in FAULTS, f"There is no fault {name!r}; --list-faults names them.")
        _require(name in within, f"{name} is out of reach: it needs {', '.join(sorted(FAULTS[name].needs))}.")
    return wanted


def _is_file(pids: str | None) -> bool:
    return pids is not None and "=" not in pids


def _pids_from(text: str | None) -> Callable[[], Mapping[str, int | None]]:
    """Return a function for the process ids: given ones, or those that a file holds at each call.

    Raises:
        InvalidRequestError: the text is malformed, or the file is missing.
    """
    if text is None:
        return dict
    if _is_file(text):
        path = Path(text)
        _require(path.is_file(), f"{path} does not exist.")
        return lambda: {name: orjson.loads(path.read_bytes())["pids"].get(name) for name in PROCESSES}
    given = dict(part.strip().partition("=")[::2] for part in text.split(","))
    for name, pid in given.items():
        _require(
            name in PROCESSES and pid.isdigit(), f"--pids takes {', '.join(PROCESSES)}, each with a number."
        )
    known = {name: int(pid) for name, pid in given.items()}
    return lambda: known


def _require(condition: bool, message: str) -> None:  # noqa: FBT001  # reads as a sentence
    if not condition:
        raise InvalidRequestError(message)

"""`runyard drill`: faults under load, and whether every promise was kept."""

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

from shared.cli.console import notice, output, output_table
from shared.cli.dev import stop_requested
from shared.cli.dev_file import DATA_DIR
from shared.cli.development import Development, Options, development
from shared.drill.drill import Drill, DrillStoppedError, Result
from shared.drill.faults import FAULTS, Clock, reachable
from shared.drill.plan import make_plan
from shared.drill.report import as_json, tables, write_json
from shared.drill.target import PROCESSES, Target
from shared.errors import InvalidRequestError
from shared.private_files import passing_directory
from shared.settings import Settings
from shared.stack import Death

app = typer.Typer(add_completion=False)

BROKEN: Final = 3
"""The exit code when a promise was broken; 1 is that the drill itself could not be held."""

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
"""What a drill's own system is told, unless the environment says otherwise: a minute has to be enough."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What was asked of the drill."""

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
    seed: Annotated[int | None, typer.Option(help="Repeats a plan.", show_default="random")] = None,
    duration: Annotated[float, typer.Option(min=1, help="Seconds of load and faults.")] = 90,
    runs: Annotated[int, typer.Option(min=1, help="Runs to submit.")] = 200,
    faults: Annotated[
        str | None, typer.Option(help="Which, by commas; `none` for none.", show_default="all in reach")
    ] = None,
    readers: Annotated[int, typer.Option(min=0, help="Readers of each run.")] = 2,
    cancels: Annotated[float, typer.Option(min=0, max=1, help="The share of runs to cancel.")] = 0.2,
    bound: Annotated[float, typer.Option(min=1, help="Seconds to end within, after the last fault.")] = 60,
    report: Annotated[Path | None, typer.Option(help="Write a JSON report here.")] = None,
    list_faults: Annotated[bool, typer.Option("--list-faults", help="List the faults, and stop.")] = False,
    url: Annotated[str | None, typer.Option(help="A running system instead of an own one.")] = None,
    key: Annotated[str | None, typer.Option(help="An API key of it.")] = None,
    database_url: Annotated[str | None, typer.Option(help="Its PostgreSQL, to look into.")] = None,
    redis_url: Annotated[str | None, typer.Option(help="Its Redis, to be emptied.")] = None,
    pids: Annotated[
        str | None,
        typer.Option(help="Its processes: `worker=12,api=34`, or the dev.json of a `runyard dev`."),
    ] = None,
    yes_inject_faults: Annotated[
        bool, typer.Option("--yes-inject-faults", help="Permission to harm the running system.")
    ] = False,
) -> None:
    """Submit load, inject faults, and check from outside that every promise is kept.

    Exit code 0 if all were, 3 if one was broken. Without --url, on a system started for it, whose
    data and logs are kept if a promise was broken.
    """
    if list_faults:
        for kind in FAULTS.values():
            output(
                f"{kind.name:16} {kind.summary} Needs: {', '.join(sorted(kind.needs)) or 'any two parts'}."
            )
        return
    wishes = Wishes(
        secrets.randbelow(2**31) if seed is None else seed, duration, runs, faults, readers, cancels, bound
    )
    with stop_requested() as stopping:
        if url is None:
            result, settings = _on_own_system(wishes, stopping)
        else:
            _demand(key is not None, "--url needs --key.")
            _demand(yes_inject_faults, "This harms the running system: say --yes-inject-faults.")
            known = _pids_from(pids)
            target = Target(
                url, key or "", database_url, redis_url, known, restarts=_is_file(pids), tick=lambda: None
            )
            result, settings = _hold(target, wishes, Settings.model_construct(), {}, stopping)
    _tell(result, settings, report)
    raise typer.Exit(0 if result.is_kept else BROKEN)


def _on_own_system(wishes: Wishes, stopping: threading.Event) -> tuple[Result, dict[str, Any]]:
    chosen = {name: value for name, value in SHORTENED.items() if name not in os.environ}
    os.environ.update(chosen)
    with (
        _directory() as (directory, keep),
        development(Options(directory, port=0), report=_say_death) as running,
    ):
        notice(f"Starting everything in {directory}.")
        if not running.wait_until_ready(stopping):
            raise DrillStoppedError
        told = {name: os.environ[name] for name in SHORTENED}
        known = Settings.model_validate(
            {"database_url": running.file.database_url, "redis_url": running.file.redis_url}
        )
        result, settings = _hold(_target_of(running), wishes, known, told, stopping)
        if not result.is_kept:
            keep()
            notice(f"Data and logs are kept in {directory}.")
    return result, settings


@contextmanager
def _directory() -> Generator[tuple[Path, Callable[[], None]]]:
    """A directory that goes in the end, unless it is to be kept."""
    directory = Path(tempfile.mkdtemp(prefix="drill-", dir=passing_directory(DATA_DIR)))
    kept = threading.Event()
    try:
        yield directory, kept.set
    finally:
        if not kept.is_set():
            shutil.rmtree(directory, ignore_errors=True)


def _target_of(running: Development) -> Target:
    file = running.file
    return Target(
        api_url=file.api_url,
        api_key=file.api_key,
        database_url=file.database_url,
        redis_url=running.redis_admin_url,
        pids=lambda: running.file.pids,
        restarts=True,
        tick=running.check,
    )


def _say_death(death: Death) -> None:
    notice(f"          {death.name} died: {death.why}; started again in {death.restart_in:g} s.")


def _hold(
    target: Target, wishes: Wishes, known: Settings, told: Mapping[str, str], stopping: threading.Event
) -> tuple[Result, dict[str, Any]]:
    clock = Clock(known.lease_ttl.total_seconds(), known.reconcile_interval.total_seconds())
    names = _chosen(wishes.faults, target)
    plan = make_plan(
        seed=wishes.seed,
        runs=wishes.runs,
        duration=wishes.duration,
        faults=[(name, FAULTS[name].expected_hold(clock)) for name in names],
        readers=wishes.readers,
        cancels=wishes.cancels,
    )
    settings = {
        "seed": wishes.seed,
        "runs": wishes.runs,
        "duration": f"{wishes.duration:g} s",
        "readers of each run": wishes.readers,
        "share of cancels": wishes.cancels,
        "faults": ", ".join(names) or "none",
        **told,
    }
    notice(f"Seed {wishes.seed}: {wishes.runs} runs, up to {len(plan.faults)} faults.")
    return Drill(target, plan, clock, bound=wishes.bound, say=notice).run(stopping), settings


def _chosen(names: str | None, target: Target) -> list[str]:
    """The faults that were asked for, or all in reach.

    Raises:
        InvalidRequestError: there is none of that name, or it is out of reach.
    """
    within = reachable(target.reach)
    if names is None:
        return within
    wanted = [] if names == "none" else [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        _demand(name in FAULTS, f"There is no fault {name!r}; --list-faults names them.")
        _demand(name in within, f"{name} is out of reach: it needs {', '.join(sorted(FAULTS[name].needs))}.")
    return wanted


def _is_file(pids: str | None) -> bool:
    return pids is not None and "=" not in pids


def _pids_from(text: str | None) -> Callable[[], Mapping[str, int | None]]:
    """Where process ids are from: given, or read from a file anew each time.

    Raises:
        InvalidRequestError: that is not how they are given.
    """
    if text is None:
        return dict
    if _is_file(text):
        path = Path(text)
        _demand(path.is_file(), f"{path} does not exist.")
        return lambda: {name: orjson.loads(path.read_bytes())["pids"].get(name) for name in PROCESSES}
    given = dict(part.strip().partition("=")[::2] for part in text.split(","))
    for name, pid in given.items():
        _demand(
            name in PROCESSES and pid.isdigit(), f"--pids takes {', '.join(PROCESSES)}, each with a number."
        )
    known = {name: int(pid) for name, pid in given.items()}
    return lambda: known


def _demand(condition: bool, otherwise: str) -> None:  # noqa: FBT001  # reads as a sentence
    if not condition:
        raise InvalidRequestError(otherwise)


def _tell(result: Result, settings: Mapping[str, Any], report: Path | None) -> None:
    for table in tables(result, settings):
        output_table(table)
    if report is not None:
        write_json(report, as_json(result, settings))
    broken = [verdict.name for verdict in result.verdicts if not verdict.is_kept]
    output(f"Broken: {', '.join(broken)}." if broken else "Every promise was kept.")

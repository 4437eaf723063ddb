"""`runyard api|worker|reconciler|flower`: become one of the processes."""

import os
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, NoReturn

import typer

from shared.cli import flower as flower_command
from shared.cli.console import notice
from shared.cli.worker_options import Concurrency, Processes
from shared.processes.hidden import hidden_module
from shared.processes.ports import demand_free
from shared.settings import get_settings
from shared.worker_names import check_name

api_app = typer.Typer(add_completion=False)
worker_app = typer.Typer(add_completion=False)
reconciler_app = typer.Typer(add_completion=False)
flower_app = typer.Typer(add_completion=False)


class Pool(StrEnum):
    """How a worker process executes several runs."""

    THREADS = "threads"
    PREFORK = "prefork"


def _checked_name(name: str | None) -> str | None:
    try:
        return None if name is None else check_name(name)
    except ValueError as error:
        raise typer.BadParameter(f"{str(error).capitalize()}.") from error


@api_app.command()
def api() -> None:
    """Serve the HTTP API."""
    _become(hidden_module("api"))


@worker_app.command()
def worker(
    *,
    concurrency: Concurrency = None,
    processes: Processes = None,
    pool: Annotated[
        Pool | None, typer.Option(help="`prefork` can kill what does not stop.", show_default="threads")
    ] = None,
    queues: Annotated[
        str | None, typer.Option(help="The queues to take from, by commas.", show_default="runs")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            callback=_checked_name,
            help="What it is called, everywhere.",
            show_default="worker@ and the machine",
        ),
    ] = None,
) -> None:
    """Execute runs; processes that end are started again."""
    options = {
        "--name": name,
        "--concurrency": concurrency,
        "--processes": processes,
        "--pool": pool,
        "--queues": queues,
    }
    given = [word for name, value in options.items() if value is not None for word in (name, str(value))]
    _become([*hidden_module("worker"), *given])


@reconciler_app.command()
def reconciler() -> None:
    """Send again, take over and expire what nobody else takes care of."""
    _become(hidden_module("worker.reconciler"))


@flower_app.command()
def flower() -> None:
    """Watch and control the workers in a browser; credentials are needed outside loopback."""
    settings = get_settings()
    environment = flower_command.flower_environment(settings, os.environ)
    if "FLOWER_BASIC_AUTH" not in environment and "FLOWER_AUTH" not in environment:
        notice("Without RUNYARD_FLOWER_BASIC_AUTH=user:password, Flower's buttons do nothing.")
    demand_free("Flower", settings.flower_host, settings.flower_port)
    _become(list(flower_command.COMMAND), environment)


def _become(arguments: list[str], environment: Mapping[str, str] = os.environ) -> NoReturn:
    get_settings()  # what is wrong with them is said here in one line
    os.execve(arguments[0], arguments, dict(environment))  # noqa: S606  # no shell wanted

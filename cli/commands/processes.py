"""`runyard api|worker|reconciler|flower`: replace the command by a process of the installation."""

import os
from collections.abc import Mapping
from typing import Annotated, NoReturn

import typer

from cli.commands.worker_options import Concurrency, Name, PoolKind, Processes, Queues
from cli.console import notice
from cli.local import flower as flower_command
from shared.processes.hidden import hidden_module
from shared.processes.ports import demand_free
from shared.settings import get_settings
from shared.workers import command_line

api_app = typer.Typer(add_completion=False)
worker_app = typer.Typer(add_completion=False)
reconciler_app = typer.Typer(add_completion=False)
flower_app = typer.Typer(add_completion=False)


ApiProcesses = Annotated[
    int | None,
    typer.Option(
        "--processes",
        min=1,
        max=64,
        help="Processes that share the port; `RUNYARD_API_PROCESSES` without it. Each has a database pool and"
        " limits of its own.",
    ),
]


@api_app.command()
def api(*, processes: ApiProcesses = None) -> None:
    """Start the HTTP API."""
    given = {} if processes is None else {"RUNYARD_API_PROCESSES": str(processes)}
    _become(hidden_module("api"), {**os.environ, **given})


@worker_app.command()
def worker(
    *,
    concurrency: Concurrency = None,
    processes: Processes = None,
    pool: PoolKind = None,
    queues: Queues = None,
    name: Name = None,
) -> None:
    """Start a worker: a supervisor and the processes that execute runs."""
    options = command_line(concurrency=concurrency, processes=processes, pool=pool, queues=queues, name=name)
    _become([*hidden_module("worker"), *options])


@reconciler_app.command()
def reconciler() -> None:
    """Start the reconciler: it resends lost tasks, takes over lost runs, and enforces limits."""
    _become(hidden_module("worker.reconciler.reconciler"))


@flower_app.command()
def flower() -> None:
    """Start Flower, the web page for workers. Outside loopback it needs credentials."""
    settings = get_settings()
    environment = flower_command.flower_environment(settings, os.environ)
    if "FLOWER_BASIC_AUTH" not in environment and "FLOWER_AUTH" not in environment:
        notice("Without RUNYARD_FLOWER_BASIC_AUTH=user:password, Flower shows no buttons.")
    demand_free("Flower", settings.flower_host, settings.flower_port)
    _become(list(flower_command.COMMAND), environment)


def _become(arguments: list[str], environment: Mapping[str, str] = os.environ) -> NoReturn:
    get_settings()  # a faulty setting ends here, in one sentence
    os.execve(arguments[0], arguments, dict(environment))  # noqa: S606  # no shell wanted

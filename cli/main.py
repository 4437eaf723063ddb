"""The `runyard` command: its subcommands, and its one-sentence errors."""

import importlib
import importlib.metadata
import importlib.util
import io
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from cli.asking import are_asking
from cli.console import failure, output
from shared.errors import RunyardError
from shared.processes.failures import EXIT_CODE, EXPECTED, sentence_of
from shared.processes.garbage import load_unsearched, settle_garbage
from shared.processes.hidden import hide_memory

PANELS: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "On this machine": {
            "dev": "cli.commands.dev:app",
            "demo": "cli.commands.demo:app",
        },
        "Runs": {
            "run": "cli.commands.runs:run_app",
            "watch": "cli.commands.runs:watch_app",
            "cancel": "cli.commands.runs:cancel_app",
            "logs": "cli.commands.logs:app",
        },
        "Administration": {
            "orgs": "cli.commands.organizations:app",
            "users": "cli.commands.users:app",
            "keys": "cli.commands.keys:app",
        },
        "Operation": {
            "config": "cli.commands.config:app",
            "doctor": "cli.commands.doctor:app",
            "health": "cli.commands.health:app",
            "drain": "cli.commands.drain:app",
            "drill": "cli.commands.drill:app",
            "migrate": "cli.commands.migrate:migrate_app",
            "purge": "cli.commands.purge:app",
            "queues": "cli.commands.queues:app",
            "runs": "cli.commands.stored_runs:app",
            "top": "cli.commands.top:app",
            "workers": "cli.commands.workers:app",
        },
        "Processes of a deployment": {
            "api": "cli.commands.processes:api_app",
            "worker": "cli.commands.processes:worker_app",
            "reconciler": "cli.commands.processes:reconciler_app",
            "flower": "cli.commands.processes:flower_app",
        },
    }
)
"""The import path of each subcommand, by panel of the help. Only the called one is imported."""

COMMANDS: Final[Mapping[str, str]] = MappingProxyType(
    {name: import_path for commands in PANELS.values() for name, import_path in commands.items()}
)

SUMMARIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "dev": "Run PostgreSQL, Redis, the API, a worker, the reconciler and Flower until Ctrl-C.",
        "demo": "Start everything, execute one run, show its events, stop everything.",
        "run": "Start a run and stream its answer.",
        "watch": "Print the events of a run, from the first to the last, as they happen.",
        "cancel": "Cancel a run, or with --all every unfinished run of the organization.",
        "logs": "Print the output of a structure run's program.",
        "orgs": "List, create and delete organizations, and set what they keep.",
        "users": "List users, add them to organizations, remove them.",
        "keys": "List, create and delete API keys.",
        "config": "Print the effective settings, each with its source. Secrets are masked.",
        "doctor": "Check PostgreSQL, Redis, the workers and all runs, read-only.",
        "health": "Check that the processes of a kind on this machine live and do their work.",
        "drain": "Drain workers: they take no new run, finish or give back the ones they have, and exit.",
        "drill": "Submit load, inject faults, and check every promise from outside.",
        "migrate": "Migrate the database to the schema of this release.",
        "purge": ("Delete what ended long ago: runs with their events and logs, and what nothing refers to."),
        "queues": "List the queues: runs that wait, for how long, and who takes them.",
        "runs": "List the runs of all organizations, or show one.",
        "top": "Show the workload live: runs, queues, workers and the newest failures.",
        "workers": "List the workers, with their slots and their queues.",
        "api": "Start the HTTP API.",
        "worker": "Start a worker: a supervisor and the processes that execute runs.",
        "reconciler": (
            "Start the reconciler: it resends lost tasks, takes over lost runs, and enforces limits."
        ),
        "flower": "Start Flower, the web page for workers. Outside loopback it needs credentials.",
    }
)
"""What the help says of each subcommand, so that the help imports none of them."""

EMBEDDED_ONLY: Final = frozenset({"psutil"})
"""Packages of the extra `embedded`, which deployments do not install."""


class Subcommands(TyperGroup):
    """The subcommands of `COMMANDS`."""

    def list_commands(self, ctx: Any) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        is_whole = all(map(importlib.util.find_spec, EMBEDDED_ONLY))  # else the command says what is missing
        command: Any = TyperCommand(cmd_name, help=SUMMARIES[cmd_name]) if is_whole else imported(cmd_name)
        command.rich_help_panel = next(panel for panel, names in PANELS.items() if cmd_name in names)
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Import a subcommand, after which `main` has the heap settled."""
        name, _, rest = super().resolve_command(ctx, args)
        command = None if name is None else imported(name)
        if ctx.obj is not None:
            ctx.obj()
        return name, command, rest


def imported(name: str) -> Any:
    """Return a subcommand as its module defines it."""
    command = typer.main.get_command(_imported(COMMANDS[name]))
    command.name = name
    return command


def _imported(import_path: str) -> typer.Typer:
    """Import a subcommand; if a package of the extra is missing, return one that says so."""
    module, _, name = import_path.partition(":")
    try:
        found: typer.Typer = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name not in EMBEDDED_ONLY:
            raise
        return _unavailable(f"The package {error.name!r} is missing: install the extra `embedded`.")
    return found


def _unavailable(reason: str) -> typer.Typer:
    unavailable = typer.Typer(add_completion=False)

    @unavailable.command(help=reason, context_settings={"ignore_unknown_options": True})
    def fail(_arguments: Annotated[list[str] | None, typer.Argument(hidden=True)] = None) -> None:
        raise RunyardError(reason)

    return unavailable


app = typer.Typer(
    name="runyard",
    cls=Subcommands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(is_given: bool) -> None:  # noqa: FBT001  # as typer calls it
    if is_given:
        output(f"runyard {importlib.metadata.version('runyard')}")
        raise typer.Exit


@app.callback()
def about(
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit."),
    ] = False,
) -> None:
    """Run assistants on your own machines.

    Start with `runyard dev`, then `runyard run "hello"` in a second terminal.
    """


def main() -> None:
    """Run the command line. An expected error ends it with one sentence rather than a traceback.

    Its memory is hidden, as that of the servers: the environment may hold keys of the API or of providers.
    """
    hide_memory()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error: no character ends a command
    load_unsearched()
    code: object = 0
    try:
        app(obj=settle_garbage)
    except EXPECTED as error:
        failure(sentence_of(error))
        code = EXIT_CODE
    except SystemExit as ending:
        code = 0 if ending.code is None else ending.code
    if are_asking() and isinstance(code, int):
        from shared.processes.ending import end_process  # noqa: PLC0415  # most commands leave no thread

        end_process(code)
    sys.exit(code)  # type: ignore[arg-type]  # as it was given

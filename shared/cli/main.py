"""The `runyard` command: its subcommands, and what a failure looks like."""

import importlib
import importlib.metadata
import sys
from types import MappingProxyType
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from shared.cli.console import failure, output
from shared.errors import RunyardError
from shared.failures import EXIT_CODE, EXPECTED, sentence_of
from shared.processes.hidden import hide_memory

COMMANDS: Final = MappingProxyType(
    {
        "dev": "shared.cli.dev:app",
        "demo": "shared.cli.demo:app",
        "drill": "shared.cli.drill:app",
        "run": "shared.cli.runs:run_app",
        "watch": "shared.cli.runs:watch_app",
        "logs": "shared.cli.logs:app",
        "cancel": "shared.cli.runs:cancel_app",
        "drain": "shared.cli.drain:app",
        "orgs": "shared.cli.organizations:app",
        "users": "shared.cli.users:app",
        "keys": "shared.cli.keys:app",
        "doctor": "shared.cli.doctor:app",
        "migrate": "shared.cli.database:migrate_app",
        "api": "shared.cli.processes:api_app",
        "worker": "shared.cli.processes:worker_app",
        "reconciler": "shared.cli.processes:reconciler_app",
        "flower": "shared.cli.processes:flower_app",
    }
)
"""Where each subcommand is. Only the one that is wanted is imported: some bring half the product."""

EMBEDDED_ONLY: Final = frozenset({"psutil"})
"""What comes with the extra `embedded`, without which the servers of a deployment are installed."""


class Subcommands(TyperGroup):
    """The subcommands of `COMMANDS`."""

    def list_commands(self, ctx: Any) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        command = typer.main.get_command(_imported(COMMANDS[cmd_name]))
        command.name = cmd_name
        return command


def _imported(place: str) -> typer.Typer:
    """Import a subcommand; one that needs a package we were installed without can only say so."""
    module, _, name = place.partition(":")
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
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _tell_version(is_asked: bool) -> None:  # noqa: FBT001  # as typer calls it
    if is_asked:
        output(f"runyard {importlib.metadata.version('runyard')}")
        raise typer.Exit


@app.callback()
def about(
    *,
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Say which this is.")
    ] = False,
) -> None:
    """Run assistants on your own machines."""


def main() -> None:
    """Run the command line; what we know can go wrong ends in one line, not in a traceback.

    It is hidden as the servers are: its environment may hold a key of the API, or those of providers.
    """
    hide_memory()
    try:
        app()
    except EXPECTED as error:
        failure(sentence_of(error))
        sys.exit(EXIT_CODE)

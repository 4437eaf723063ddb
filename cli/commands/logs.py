"""`runyard logs`: the output of a structure run's program."""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from http import HTTPStatus
from typing import Annotated, Final

import typer

from cli import connection
from cli.client import ApiRefusedError, ApiUnreachableError, Client
from cli.commands.runs import EPILOG, reason_of
from cli.console import notice, output
from cli.exit_codes import EXIT_CODES
from cli.ids import RunId
from cli.local.dev_file import DATA_DIR
from shared.errors import RunyardError
from shared.lifecycle import RunStatus
from shared.processes.invocation import runyard


class NoLogError(RunyardError):
    """The run of an assistant has no log."""

    def __init__(self, run_id: str) -> None:
        super().__init__(
            f"{run_id} is a run of an assistant, and only runs of structures have a log. Its events:"
            f" {runyard(f'watch {run_id}')}"
        )


POLL_INTERVAL: Final = 0.5  # seconds

app = typer.Typer(add_completion=False)


@app.command(epilog=EPILOG)
def logs(
    run_id: RunId,
    *,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow", "-f", help="Follow the log until the run ends. The exit code is that of the run."
        ),
    ] = False,
    api_url: connection.ApiUrl = None,
    api_key: connection.ApiKey = None,
    data_dir: connection.DataDir = DATA_DIR,
) -> None:
    """Print the output of a structure run's program."""
    with connection.connect(api_url, api_key, data_dir) as client, _refusing_assistants(client, run_id):
        if not follow:
            _print(client.log_lines(run_id, offset=0))
            return
        status = RunStatus.QUEUED
        for status, lines in client.follow_log(run_id, interval=POLL_INTERVAL):  # noqa: B007  # the last is wanted
            _print(lines)
        if status is not RunStatus.SUCCEEDED:
            notice(reason_of(client.get_ended_run(run_id)))
    raise typer.Exit(EXIT_CODES[status])


@contextmanager
def _refusing_assistants(client: Client, run_id: str) -> Generator[None]:
    """Say of the run of an assistant that it has no log, where the API knows no such structure run.

    Raises:
        NoLogError: it is one.
    """
    try:
        yield
    except ApiRefusedError as refusal:
        if refusal.status != HTTPStatus.NOT_FOUND:
            raise
        try:
            client.assistant_run(run_id)
        except (ApiRefusedError, ApiUnreachableError):
            raise refusal from None
        raise NoLogError(run_id) from None


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        output(line)

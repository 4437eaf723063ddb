"""`runyard logs`: the output of a structure run's program."""

from collections.abc import Iterable
from typing import Annotated, Final

import typer

from cli import connection
from cli.commands.runs import EPILOG, reason_of
from cli.console import notice, output
from cli.exit_codes import EXIT_CODES
from cli.ids import RunId
from cli.local.dev_file import DATA_DIR
from shared.lifecycle import RunStatus

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
    with connection.connect(api_url, api_key, data_dir) as client:
        if not follow:
            _print(client.log_lines(run_id, offset=0))
            return
        status = RunStatus.QUEUED
        for status, lines in client.follow_log(run_id, interval=POLL_INTERVAL):  # noqa: B007  # the last is wanted
            _print(lines)
        if status is not RunStatus.SUCCEEDED:
            notice(reason_of(client.structure_run(run_id)))
    raise typer.Exit(EXIT_CODES[status])


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        output(line)

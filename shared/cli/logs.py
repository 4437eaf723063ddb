"""`runyard logs`: what the program of a structure run has written."""

from collections.abc import Iterable
from typing import Annotated, Final

import typer

from shared.cli import connection
from shared.cli.console import notice, output
from shared.cli.dev_file import DATA_DIR
from shared.cli.ids import RunId
from shared.cli.runs import EPILOG, EXIT_CODES, reason_of
from shared.runs.lifecycle import RunStatus

LOOK: Final = 0.5  # seconds between two looks at a run that goes on

app = typer.Typer(add_completion=False)


@app.command(epilog=EPILOG)
def logs(
    run_id: RunId,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the run has ended; exit as it did.")
    ] = False,
    api_url: connection.ApiUrl = None,
    api_key: connection.ApiKey = None,
    data_dir: connection.DataDir = DATA_DIR,
) -> None:
    """Print what the program of a structure run has written."""
    with connection.connect(api_url, api_key, data_dir) as client:
        if not follow:
            _print(client.log_lines(run_id, offset=0))
            return
        status = RunStatus.QUEUED
        for status, lines in client.follow_log(run_id, look=LOOK):  # noqa: B007  # the last is wanted
            _print(lines)
        if status is not RunStatus.SUCCEEDED:
            notice(reason_of(client.structure_run(run_id)))
    raise typer.Exit(EXIT_CODES[status])


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        output(line)

"""`runyard logs`: what the program of a structure run has written."""

from typing import Annotated, Final

import typer

from shared.cli import connection
from shared.cli.client import Client
from shared.cli.console import output
from shared.cli.dev_file import DATA_DIR
from shared.cli.runs import EPILOG, EXIT_CODES
from shared.runs.lifecycle import ACTIVE, RunStatus

LOOK: Final = 0.5  # seconds between two looks at a run that goes on

app = typer.Typer(add_completion=False)


@app.command(epilog=EPILOG)
def logs(
    run_id: Annotated[str, typer.Argument(help="The id of the structure run.")],
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
            _print_from(client, run_id, 0)
            return
        status = _follow(client, run_id)
    raise typer.Exit(EXIT_CODES[status])


def _follow(client: Client, run_id: str) -> RunStatus:
    offset = 0
    while True:
        status = RunStatus(client.structure_run(run_id, wait=LOOK)["status"])
        offset = _print_from(client, run_id, offset)  # whatever there was when it was looked at
        if status not in ACTIVE:
            return status


def _print_from(client: Client, run_id: str, offset: int) -> int:
    """Print the lines from a number on; return the number of the next one."""
    while lines := client.log_lines(run_id, offset=offset):
        for line in lines:
            output(line)
        offset += len(lines)
    return offset

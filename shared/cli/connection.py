"""Where the commands that call the API find it: options, environment, or a running `runyard dev`."""

from pathlib import Path
from typing import Annotated

import typer

from shared.cli.client import Client
from shared.cli.dev_file import DATA_DIR, find_dev_file
from shared.errors import RunyardError

ApiUrl = Annotated[
    str | None,
    typer.Option(envvar="RUNYARD_API_URL", help="Where the API is.", show_default="as `runyard dev` says"),
]
ApiKey = Annotated[
    str | None,
    typer.Option(envvar="RUNYARD_API_KEY", help="The key to use.", show_default="as `runyard dev` says"),
]
DataDir = Annotated[Path, typer.Option(help="The directory of `runyard dev`.")]


class NoApiKnownError(RunyardError):
    """Nothing says where the API is."""

    def __init__(self, directory: Path) -> None:
        super().__init__(
            f"No `runyard dev` runs on {directory}: start it, or give --api-url and --api-key"
            " (RUNYARD_API_URL, RUNYARD_API_KEY)."
        )


def connect(api_url: str | None, api_key: str | None, data_dir: Path = DATA_DIR) -> Client:
    """Make a client of the API that was named; what was not named, `runyard dev` has told.

    Raises:
        NoApiKnownError: neither has been.
    """
    if api_url is None or api_key is None:
        known = find_dev_file(data_dir)
        if known is None:
            raise NoApiKnownError(data_dir)
        api_url, api_key = api_url or known.api_url, api_key or known.api_key
    return Client(api_url, api_key)

"""Where the commands that call the API find it: options, environment, or a running `runyard dev`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from shared.cli.client import Client
from shared.cli.dev_file import DATA_DIR, find_dev_file
from shared.cli.invocation import runyard
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


class MisdirectedKeyError(RunyardError):
    """A key was given without the address it belongs to, or the other way round."""

    def __init__(self, given: str, wanted: str, known_url: str) -> None:
        super().__init__(
            f"{given} was given without {wanted}, and is not for {known_url}, where `runyard dev` runs:"
            f" give both or neither."
        )


class NoApiKnownError(RunyardError):
    """Nothing says where the API is."""

    def __init__(self, directory: Path) -> None:
        super().__init__(
            f"No `runyard dev` runs on {directory}: start it with `{runyard('dev')}`, or give"
            " --api-url and --api-key (RUNYARD_API_URL, RUNYARD_API_KEY)."
        )


def connect(api_url: str | None, api_key: str | None, data_dir: Path = DATA_DIR) -> Client:
    """Make a client of the API that was named; where none was, of the one of `runyard dev`.

    A key goes to the address it was given with. One from the environment is never sent to an
    address out of a file, nor one out of a file to an address from elsewhere.

    Raises:
        NoApiKnownError: neither has been named.
        MisdirectedKeyError: only one of the two was given, and it is not that of `runyard dev`.
        UntrustedDevFileError: somebody else may have written what tells of `runyard dev`.
    """
    if api_url is not None and api_key is not None:
        return Client(api_url, api_key)
    known = find_dev_file(data_dir)
    if known is None:
        raise NoApiKnownError(data_dir)
    if api_url is not None and api_url.rstrip("/") != known.api_url.rstrip("/"):
        raise MisdirectedKeyError("An address (RUNYARD_API_URL)", "a key", known.api_url)
    if api_key is not None and api_key != known.api_key and api_key == os.environ.get("RUNYARD_API_KEY"):
        raise MisdirectedKeyError("A key (RUNYARD_API_KEY)", "an address", known.api_url)
    return Client(known.api_url, api_key or known.api_key)

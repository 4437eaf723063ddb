"""The address and key of the API, for commands that call it: options, environment, or `runyard dev`."""

import os
from pathlib import Path
from typing import Annotated, Final

import typer

from cli.client import Client
from cli.local.dev_file import DATA_DIR, find_dev_file
from shared.errors import RunyardError
from shared.processes.invocation import runyard
from shared.variables import value_of, without_line_ends

KEY: Final = "RUNYARD_API_KEY"

ApiUrl = Annotated[
    str | None,
    typer.Option(
        envvar="RUNYARD_API_URL", help="The address of the API.", show_default="that of `runyard dev`"
    ),
]
ApiKey = Annotated[
    str | None,
    typer.Option(envvar=KEY, help="The API key.", show_default="that of `runyard dev`"),
]
DataDir = Annotated[Path, typer.Option(help="The directory of `runyard dev`.")]


class MisdirectedKeyError(RunyardError):
    """A key was given without its address, or an address without its key."""

    def __init__(self, given: str, wanted: str, known_url: str) -> None:
        super().__init__(
            f"{given} was given without {wanted}, and is not for {known_url}, where `runyard dev` runs:"
            f" give both or neither."
        )


class NoApiKnownError(RunyardError):
    """No option, variable or running `runyard dev` names an API."""

    def __init__(self, directory: Path) -> None:
        super().__init__(
            f"No `runyard dev` runs on {directory}: start it with `{runyard('dev')}`, or give"
            " --api-url and --api-key (RUNYARD_API_URL, RUNYARD_API_KEY)."
        )


def connect(api_url: str | None, api_key: str | None, data_dir: Path = DATA_DIR) -> Client:
    """Return a client of the given API, or without one of `runyard dev`.

    A key is sent only to the address that it was given with. A key from the environment is never sent
    to an address from a file, and a key from a file never to an address from elsewhere.

    Raises:
        NoApiKnownError: no API is given and no `runyard dev` runs.
        MisdirectedKeyError: only one of address and key is given, and it is not that of `runyard dev`.
        UntrustedDevFileError: another user may have written the file of `runyard dev`.
    """
    api_url, api_key = (None if given is None else without_line_ends(given) for given in (api_url, api_key))
    if api_url is not None and api_key is not None:
        return Client(api_url, api_key)
    known = find_dev_file(data_dir)
    if known is None:
        raise NoApiKnownError(data_dir)
    if api_url is not None and api_url.rstrip("/") != known.api_url.rstrip("/"):
        raise MisdirectedKeyError("An address (RUNYARD_API_URL)", "a key", known.api_url)
    if api_key is not None and api_key != known.api_key and api_key == value_of(KEY, os.environ):
        raise MisdirectedKeyError("A key (RUNYARD_API_KEY)", "an address", known.api_url)
    return Client(known.api_url, api_key or known.api_key)

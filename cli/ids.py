"""Ids on the command line. A malformed id is an error and never becomes part of a path."""

import uuid
from typing import Annotated

import typer


def read_id(text: str) -> str:
    """Return an id as the API writes it.

    Raises:
        typer.BadParameter: the text is not an id.
    """
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no id.") from None


RunId = Annotated[str, typer.Argument(help="The id of the run.", parser=read_id, metavar="RUN_ID")]

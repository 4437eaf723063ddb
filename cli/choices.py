"""Choices on the command line: values of an enumeration, in any case."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import typer


def choice(kind: type[StrEnum]) -> Mapping[str, Any]:
    """Return arguments of `typer.Option` and `typer.Argument`: a value is read in any case.

    A text that is no value is a usage error, which names the values as they are spelled.
    """

    def parse(text: str) -> StrEnum:
        found = next((one for one in kind if one.casefold() == text.casefold()), None)
        if found is None:
            raise typer.BadParameter(f"{text!r} is not one of {', '.join(kind)}.")
        return found

    return {"parser": parse}

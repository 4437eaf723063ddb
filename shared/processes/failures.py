"""Expected failures at the start of a process: one sentence that names the remedy, no traceback."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from pydantic_core import ValidationError

from shared.errors import RunyardError
from shared.terminal import visible

EXIT_CODE: Final = 1
EXPECTED: Final = (RunyardError, OSError, ValidationError)
"""Errors with a cause outside the program: a setting, a file, a port, a server."""


def sentence_of(error: Exception) -> str:
    """The text of an `EXPECTED` error. It quotes no value of a setting."""
    if not isinstance(error, ValidationError):
        return str(error)
    faults = []
    for fault in error.errors():
        message = fault["msg"].removeprefix("Value error, ")
        if not fault["loc"]:  # of several settings together: the message names them
            faults.append(message)
            continue
        variable = f"RUNYARD_{'.'.join(map(str, fault['loc'])).upper()}"
        is_missing = fault["type"] == "missing"
        faults.append(f"{variable} is not set" if is_missing else f"{variable}: {message}")
    return f"{'; '.join(faults)}."


@contextmanager
def plain_failures() -> Generator[None]:
    """End the process with exit code 1 and one sentence if the block raises an `EXPECTED` error.

    Raises:
        SystemExit: the block raised one.
    """
    try:
        yield
    except EXPECTED as error:
        sys.stderr.write(f"Error: {visible(sentence_of(error))}\n")
        raise SystemExit(EXIT_CODE) from None

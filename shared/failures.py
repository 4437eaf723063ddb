"""What people read when something cannot be begun: one sentence that says what to mend, and no traceback."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from pydantic_core import ErrorDetails, ValidationError

from shared.errors import RunyardError
from shared.terminal import visible

EXIT_CODE: Final = 1
EXPECTED: Final = (RunyardError, OSError, ValidationError)
"""What goes wrong for a reason outside the program: a setting, a file, a port, a server that refuses."""


def sentence_of(error: Exception) -> str:
    """What one of `EXPECTED` says to whoever can mend it; no value of a setting is quoted."""
    if isinstance(error, ValidationError):
        return f"{'; '.join(map(_of_setting, error.errors()))}."
    return str(error)


@contextmanager
def plain_failures() -> Generator[None]:
    """End the process with exit code 1 and one sentence if the block fails for an expected reason.

    Raises:
        SystemExit: it did.
    """
    try:
        yield
    except EXPECTED as error:
        sys.stderr.write(f"Error: {visible(sentence_of(error))}\n")
        raise SystemExit(EXIT_CODE) from None


def _of_setting(fault: ErrorDetails) -> str:
    variable = f"RUNYARD_{'.'.join(map(str, fault['loc'])).upper()}"
    if fault["type"] == "missing":
        return f"{variable} is not set"
    return f"{variable}: {fault['msg'].removeprefix('Value error, ')}"

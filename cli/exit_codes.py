"""Exit codes of `runyard`. The help of each command names those that it uses."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from shared.lifecycle import RunStatus
from shared.processes.failures import EXIT_CODE

EXIT_FAILURE: Final = EXIT_CODE
"""The command failed, with one sentence on standard error."""

EXIT_USAGE: Final = 2
"""The command line is wrong; typer uses the same code."""

EXIT_INTERRUPTED: Final = 130
"""Ctrl-C, as shells report it."""

EXIT_CODES: Final[Mapping[RunStatus, int]] = MappingProxyType(
    {
        RunStatus.SUCCEEDED: 0,
        RunStatus.FAILED: 3,
        RunStatus.ERROR: 4,
        RunStatus.CANCELLED: 5,
    }
)
"""`run`, `watch`, `logs --follow` and `demo`: how the run ended."""

EXIT_PROBLEMS: Final = 3
"""`doctor` found a problem; `queues` a queue from which nobody takes, `workers` no worker that answers."""

EXIT_PROMISE_BROKEN: Final = 3
"""The `drill` saw a broken promise."""

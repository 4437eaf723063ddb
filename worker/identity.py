"""The identity of this worker process: its name, and the holder for whom it has the name."""

import uuid

from shared.processes import beats

_names: list[str] = []
"""The name of this process and of its forks; empty until it is known."""

_holders: list[uuid.UUID] = []
"""The holder of the name; empty without a supervisor."""


def set_name(name: str) -> None:
    """Set the name of this process."""
    _names[:] = [name]


def own_name() -> str:
    """Return the name of this process; before it has one, and outside workers, its host and pid."""
    return _names[0] if _names else beats.this_process()


def set_holder(holder: uuid.UUID) -> None:
    """Set for whom this process has its name."""
    _holders[:] = [holder]


def own_holder() -> uuid.UUID | None:
    """Return for whom this process has its name; None without a supervisor."""
    return _holders[0] if _holders else None

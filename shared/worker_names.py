"""What a worker is called: in Flower, to `runyard drain`, in logs, and in the runs that it has."""

import re
import socket
from typing import Final

LONGEST: Final = 64  # characters; a number may be added

RESERVED: Final = frozenset({"external"})  # who has a run that its caller executes

_FORM: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:@[A-Za-z0-9._-]+)?")


def check_name(name: str) -> str:
    """Return a name that a worker may have.

    Raises:
        ValueError: it may not; in one sentence.
    """
    if len(name) > LONGEST:
        raise ValueError(f"a worker's name has {LONGEST} characters at the most")
    if name in RESERVED or not _FORM.fullmatch(name):
        raise ValueError(
            "a worker's name has letters, digits, '.', '_' and '-' only, and at most one '@', in between"
        )
    return name


def default_name() -> str:
    """What a worker is called that was given no name: after its machine, and so the same after a restart."""
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname()) or "host"
    return f"worker@{host}"[:LONGEST]


def numbered(name: str, number: int, *, mark: str) -> str:
    """A name with a number: `worker@host`, 2 and `-` make `worker-2@host`."""
    local, at, host = name.partition("@")
    return f"{local}{mark}{number}{at}{host}"

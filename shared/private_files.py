"""Files that only the user who runs us can read."""

import os
from pathlib import Path


def write_private(path: Path, content: bytes) -> None:
    """Put a file (0600) at a path, whole and at once, whatever was there before."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    temporary.replace(path)


def make_private_directory(path: Path) -> Path:
    """Make a directory (0700) with its parents; one that is there already stays as it is."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path

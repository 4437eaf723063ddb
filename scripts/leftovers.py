"""List the processes of this checkout that were started since an instant and still run.

    python scripts/leftovers.py SINCE

SINCE is in seconds of the epoch. Stopping processes get some seconds; remaining ones make the exit
code 1.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil

CHECKOUT: Final = Path(__file__).resolve().parent.parent
ORIGINS: Final = (
    f"{CHECKOUT}/.venv/",
    f"{tempfile.gettempdir()}/runyard-postgresql-",  # a copy for root, who cannot run PostgreSQL
)
EXIT_TIMEOUT: Final = 10.0  # seconds; a process may still be stopping


def leftovers(since: float) -> Iterator[str]:
    """Describe the processes whose program, or whose arguments, come out of this checkout."""
    own = {process.pid for process in (psutil.Process(), *psutil.Process().parents())}
    for process in psutil.process_iter():
        try:
            if process.pid in own or process.create_time() < since:
                continue
            if process.status() != psutil.STATUS_ZOMBIE and _is_ours(process):
                yield f"{process.pid} {' '.join(process.cmdline())[:200]}"
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # ended, or another user's


def _is_ours(process: psutil.Process) -> bool:
    # A virtual environment's Python is a link to another one, so that only its arguments tell;
    # PostgreSQL rewrites its arguments, so that only its program does.
    words = [process.exe(), *process.cmdline()]
    return any(str(Path(process.cwd(), word)).startswith(ORIGINS) for word in words)


def main() -> None:
    since = float(sys.argv[1])
    deadline = time.monotonic() + EXIT_TIMEOUT
    while (left := list(leftovers(since))) and time.monotonic() < deadline:
        time.sleep(0.2)
    if left:
        sys.exit("\n".join(["These processes were left running:", *left]))


if __name__ == "__main__":
    main()

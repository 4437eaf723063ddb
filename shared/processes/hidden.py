"""Processes whose memory and environment no other process of the same user can read.

    python -m shared.processes.hidden MODULE ARGUMENTS...

runs a module as `python -m MODULE` does, hidden from its first line on. The kernel forgets who is
hidden when a process becomes another program, so each program of ours has to ask for itself; what
it forks stays hidden. A debugger or profiler needs root from then on, and a crash leaves no core.
"""

import ctypes
import runpy
import sys
from typing import Final

PR_GET_DUMPABLE: Final = 3
PR_SET_DUMPABLE: Final = 4


def hide_memory() -> None:
    """Keep others of the same user from `/proc/<pid>/environ`, `mem` and `maps`, and from tracing us.

    Only Linux can; elsewhere nothing happens, which `configure_logging` says in the log.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def is_hidden() -> bool:
    """Whether this process is hidden, by what the kernel says."""
    if sys.platform != "linux":
        return False
    is_dumpable: int = ctypes.CDLL(None).prctl(PR_GET_DUMPABLE, 0, 0, 0, 0)
    return is_dumpable == 0


def hidden_module(module: str) -> list[str]:
    """The command that runs a module hidden; and not a namesake in the current directory."""
    return [sys.executable, "-P", "-m", "shared.processes.hidden", module]


def main() -> None:
    hide_memory()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

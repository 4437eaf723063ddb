"""Hidden processes: no other process of the same user can read their memory and environment.

    python -m shared.processes.hidden MODULE ARGUMENTS...

runs a module as `python -m MODULE` does, hidden from its first line on. An exec resets the flag in
the kernel, so each program sets it itself; a fork keeps it. A debugger or profiler then needs root,
and a crash writes no core.
"""

import ctypes
import runpy
import sys
from typing import Final

from shared.processes.garbage import load_unsearched

PR_GET_DUMPABLE: Final = 3
PR_SET_DUMPABLE: Final = 4


def hide_memory() -> None:
    """Deny processes of the same user `/proc/<pid>/environ`, `mem` and `maps`, and tracing.

    Only Linux supports this. Elsewhere nothing happens, and `shared.processes.starting.begin` logs that.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def is_hidden() -> bool:
    """Whether the kernel reports this process as hidden."""
    if sys.platform != "linux":
        return False
    is_dumpable: int = ctypes.CDLL(None).prctl(PR_GET_DUMPABLE, 0, 0, 0, 0)
    return is_dumpable == 0


def hidden_module(module: str) -> list[str]:
    """The command that runs a module hidden. `-P` keeps modules of the current directory out."""
    return [sys.executable, "-P", "-m", "shared.processes.hidden", module]


def main() -> None:
    hide_memory()
    load_unsearched()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

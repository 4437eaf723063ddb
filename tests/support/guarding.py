"""No process of a test outlives the process that started it, however that ends."""

import atexit
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Final, NoReturn

_guard: subprocess.Popen[bytes] | None = None


def started(
    command: Sequence[str], *, at_loss: signal.Signals = signal.SIGKILL, **options: Any
) -> subprocess.Popen[Any]:
    """Start a process, as `subprocess.Popen` does.

    Args:
        command: what is executed.
        at_loss: what it is sent if this process ends without having stopped it.
        options: those of `subprocess.Popen`.
    """
    process = subprocess.Popen(command, **options)
    guard(process.pid, at_loss)
    return process


def guard(pid: int, at_loss: signal.Signals = signal.SIGKILL) -> None:
    """Have a child of this process sent a signal when this process has ended, and the child has not."""
    global _guard  # noqa: PLW0603  # one for all children of this process
    if _guard is None:
        _guard = subprocess.Popen(
            [sys.executable, "-S", __file__], stdin=subprocess.PIPE, start_new_session=True
        )
        atexit.register(_guard.communicate)
    assert _guard.stdin is not None
    _guard.stdin.write(b"%d %d\n" % (pid, at_loss))
    _guard.stdin.flush()


def watch() -> NoReturn:
    """Read ids of processes until there is nobody any more to say more, then end the processes."""
    held: Final = []
    for line in sys.stdin.buffer:
        pid, number = map(int, line.split())
        try:
            held.append((os.pidfd_open(pid), number))  # another process may have its id later
        except ProcessLookupError:
            continue
    for descriptor, number in reversed(held):
        try:
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            continue
    sys.exit()


if __name__ == "__main__":
    watch()

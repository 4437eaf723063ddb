"""One child process: start it with a log, stop it by ever harder signals, say how it ended."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import psutil

KILL_TIMEOUT: Final = 5.0  # seconds; what outlives SIGKILL for longer hangs in the kernel
TAIL_BYTES: Final = 8192
LAUNCHER: Final = Path(__file__).resolve().with_name("launcher.py")

_SIGNAL_NAMES: Final = {number.value: number.name for number in signal.Signals}

Process = subprocess.Popen[bytes]
Ladder = Sequence[tuple[signal.Signals, float]]
"""Signals to send one after another, each with the seconds it is given to work."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the operating system, by number."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Command:
    """A program to run, and all that it is given."""

    arguments: Sequence[str]
    log_path: Path
    environment: Mapping[str, str]
    directory: Path | None = None
    stdin: bytes = b""
    account: Account | None = None  # another account than ours; takes root
    orphan_signal: signal.Signals = signal.SIGTERM  # what it gets if we die without a word


def spawn(command: Command) -> Process:
    """Start a program in a session of its own, where a terminal's Ctrl-C does not reach it.

    If we die it gets `orphan_signal`, on Linux. The kernel means the death of the thread that
    forked, so this holds for what the main thread starts.
    """
    with command.log_path.open("ab") as log:
        process = subprocess.Popen(  # noqa: S603  # our own argument lists, no shell
            [*_launcher(command), *command.arguments],
            stdin=subprocess.PIPE if command.stdin else subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=dict(command.environment),
            cwd=command.directory,
            start_new_session=True,
        )
    if process.stdin is not None:
        _feed(process.stdin, command.stdin)
    return process


def _launcher(command: Command) -> list[str]:
    is_main = threading.current_thread() is threading.main_thread()
    account = f"{command.account.uid}:{command.account.gid}" if command.account else "-"
    signal_number = int(command.orphan_signal) if is_main else 0
    return [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), str(signal_number), account]


def _feed(stdin: IO[bytes], data: bytes) -> None:
    # A program that ends before it reads says why in its log.
    with suppress(BrokenPipeError), stdin:
        stdin.write(data)


def stop(process: Process, ladder: Ladder) -> None:
    """End a process by the signals of a ladder, by SIGKILL at last; then what it has left behind."""
    if process.poll() is not None:
        return  # its id may be somebody else's by now
    family = descendants(process.pid)
    for signal_number, patience in ladder:
        if process.poll() is not None:
            break
        process.send_signal(signal_number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
    if process.poll() is None:
        family += descendants(process.pid)  # those of the meantime
        process.kill()
        process.wait(KILL_TIMEOUT)
    kill(family)


def descendants(pid: int) -> list[psutil.Process]:
    """The processes that a process has started, they in turn, and so on."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def kill(processes: Iterable[psutil.Process]) -> None:
    """End processes without further ado; those that have ended already are passed over."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def describe_exit(process: Process) -> str:
    """How a process ended, for people: `exit code 3`, `SIGKILL`."""
    code = process.returncode
    if code is None:
        return "still running"
    if code >= 0:
        return f"exit code {code}"
    return _SIGNAL_NAMES.get(-code, f"signal {-code}")


def tail(path: Path, *, lines: int = 10) -> str:
    """The last lines of a log, or nothing if there is none."""
    if not path.exists():
        return ""
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - TAIL_BYTES))
        return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])


def set_aside(log_path: Path) -> None:
    """Keep the log of the last start as `.old`, instead of the one before it."""
    if log_path.exists():
        log_path.replace(log_path.with_name(f"{log_path.name}.old"))

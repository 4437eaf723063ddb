"""One child process: start it with a log, stop it by a sequence of signals, describe its exit."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

KILL_TIMEOUT: Final = 5.0  # seconds; a process that survives SIGKILL for longer hangs in the kernel
TAIL_BYTES: Final = 8192
LAUNCHER: Final = Path(__file__).resolve().with_name("launcher.py")

_SIGNAL_NAMES: Final = {number.value: number.name for number in signal.Signals}

Process = subprocess.Popen[bytes]
StopSequence = Sequence[tuple[signal.Signals, float]]
"""Signals to send in order, each with the seconds to wait for its effect."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the operating system, by number."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Command:
    """A program with its arguments, environment and account."""

    arguments: Sequence[str]
    log_path: Path
    environment: Mapping[str, str]
    directory: Path | None = None
    stdin: bytes = b""
    account: Account | None = None  # another account than ours; needs root
    orphan_signal: signal.Signals = signal.SIGTERM  # sent to it if this process dies


def spawn(command: Command) -> Process:
    """Start a program in its own session, where a terminal's Ctrl-C does not reach it.

    On Linux it gets `orphan_signal` if this process dies. The kernel watches the thread that forked,
    so only programs that the main thread starts get it.
    """
    is_main = threading.current_thread() is threading.main_thread()
    signal_number = int(command.orphan_signal) if is_main else 0
    account = f"{command.account.uid}:{command.account.gid}" if command.account else "-"
    launcher = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), str(signal_number), account]
    with command.log_path.open("ab") as log:
        process = subprocess.Popen(  # noqa: S603  # our own argument lists, no shell
            [*launcher, *command.arguments],
            stdin=subprocess.PIPE if command.stdin else subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=dict(command.environment),
            cwd=command.directory,
            start_new_session=True,
        )
    if process.stdin is not None:
        # A program that ends before it reads states the reason in its log.
        with suppress(BrokenPipeError), process.stdin:
            process.stdin.write(command.stdin)
    return process


def stop(process: Process, stop_sequence: StopSequence) -> None:
    """End a process by its stop sequence, in the end by SIGKILL, and then its descendants."""
    if process.poll() is not None:
        return  # its id may belong to another process by now
    family = descendants(process.pid)
    for signal_number, timeout in stop_sequence:
        if process.poll() is not None:
            break
        process.send_signal(signal_number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout)
    if process.poll() is None:
        family += descendants(process.pid)  # started since
        process.kill()
        process.wait(KILL_TIMEOUT)
    kill(family)


def descendants(pid: int) -> list[psutil.Process]:
    """Children of a process, their children, and so on."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def is_alive(process: psutil.Process) -> bool:
    """Whether a process still runs; a zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill(processes: Iterable[psutil.Process]) -> None:
    """Send SIGKILL to processes; those that have ended already are skipped."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def describe_exit(process: Process) -> str:
    """How a process ended, as text: `exit code 3`, `SIGKILL`."""
    code = process.returncode
    if code is None:
        return "still running"
    if code >= 0:
        return f"exit code {code}"
    return _SIGNAL_NAMES.get(-code, f"signal {-code}")


def tail(path: Path, *, lines: int = 10) -> str:
    """The last lines of a log; empty if there is no log."""
    if not path.exists():
        return ""
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - TAIL_BYTES))
        return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])


def set_aside(log_path: Path) -> None:
    """Rename the log of the last start to `.old`, over the one before it."""
    if log_path.exists():
        log_path.replace(log_path.with_name(f"{log_path.name}.old"))

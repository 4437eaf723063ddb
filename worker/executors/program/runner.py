"""Runs one program under a shim, until its last process has ended."""

import json
import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import structlog

from shared.lifecycle import StoppedHow
from shared.structures.groups import Group, lent_group
from worker.cancellation import CancelToken, RunStopped
from worker.executors.base import (
    Exited,
    InvalidConfigurationError,
    LogStream,
    PlatformError,
    WriteLines,
)
from worker.executors.program.accounts import end_user
from worker.executors.program.holding import Hold, Holder
from worker.executors.program.orphans import MARK, adopt_orphans, kill_marked_processes
from worker.executors.program.output import Output
from worker.redaction import StreamRedactor

SHIM: Final = Path(__file__).with_name("shim.py")
CHUNK: Final = 256 * 1024  # bytes of one read
KILLED: Final = 128 + signal.SIGKILL  # an exit code, as shells count
GROUP_MEMORY: Final = 1 << 26  # bytes beyond the program's, for the kernel and the sandbox
GROUP_PROCESSES: Final = 10  # threads for each allowed process
SHIM_EXIT_TIMEOUT: Final = 15.0  # seconds; far more than a shim needs after EOF

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one program."""

    memory: int  # bytes, of each process and of all together
    cpu: timedelta  # of each process
    file_size: int  # bytes of one file
    processes: int  # at once
    log_bytes: int  # of its output; the rest is dropped
    grace: timedelta  # between SIGTERM and SIGKILL


@dataclass(frozen=True, slots=True)
class Job:
    """The command of a program."""

    arguments: Sequence[str]  # its main file first
    directory: Path  # the current one at its start
    variables: Mapping[str, str] = field(default_factory=dict)  # set after the start of its interpreter
    environment: Mapping[str, str] = field(default_factory=dict)  # of the interpreter; nothing of a caller's
    path: Sequence[str] = ()  # searched first for modules


def run_program(
    job: Job,
    *,
    mark: str,
    holder: Holder,
    secrets: Mapping[str, str],
    workdir: Path,
    limits: Limits,
    token: CancelToken,
    write_lines: WriteLines,
) -> Exited:
    """Run a program to its end, in this thread.

    Args:
        mark: marks its processes; unique to the program.
        workdir: the run's own directory. The shim removes it if this process dies. `tmp` in it is for files.
        secrets: variables whose values are redacted in its output.

    Raises:
        RunStopped: the token fired; no process of the program is left, or it had none yet.
        InvalidConfigurationError: the program cannot be started.
        PlatformError: the shim died; the program was killed.
        OSError: this machine starts no process.
    """
    output = Output(write_lines, StreamRedactor(secrets), limit=limits.log_bytes)
    (workdir / "tmp").mkdir(exist_ok=True)
    with (
        holder.hold(workdir, token) as hold,
        # The shim checks the exact limits and can name them. The group has higher ones, and stops a program
        # that grows faster than the shim checks. It counts threads as processes.
        lent_group(
            holder.sandbox.groups,
            mark,
            memory=limits.memory + GROUP_MEMORY,
            processes=limits.processes * GROUP_PROCESSES,
        ) as group,
        _start_shim(job, hold, group, mark=mark, workdir=workdir, limits=limits) as shim,
        token.on_cancel(shim.ask_to_stop),
    ):
        report = shim.attend(output)
        if group is not None and report["why"] is None and group.ran_out_of_memory():
            report = {**report, "why": "memory"}
    if token.is_cancelled:
        raise RunStopped(StoppedHow.KILLED if report["killed"] else StoppedHow.COOPERATIVE)
    return _exited(report, limits, output.last_error_line)


def _exited(report: Mapping[str, Any], limits: Limits, last_error_line: str) -> Exited:
    exit_code: int = report["exit_code"]
    match report["why"]:
        case "start":
            raise InvalidConfigurationError(f"The program cannot be started: {report['message']}.")
        case "memory":
            return Exited(KILLED, f"The program used more memory than the {limits.memory} bytes it may.")
        case "processes":
            return Exited(KILLED, f"The program had more than the {limits.processes} processes it may.")
    if exit_code == 0:
        return Exited(0, "The program ended.")
    if exit_code > 128:  # noqa: PLR2004  # as shells count
        with suppress(ValueError):
            return Exited(exit_code, f"The program was ended by {signal.Signals(exit_code - 128).name}.")
    said = f" It said last: {last_error_line}" if last_error_line else ""
    return Exited(exit_code, f"The program exited with code {exit_code}.{said}", last_error_line)


class ShimProcess:
    """A shim, as the worker sees it."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", link: socket.socket, mark: str, uid: int | None
    ) -> None:
        self._process = process
        self._link = link
        self._mark = mark  # of all processes of the program
        self._uid = uid  # of the program, if it has its own

    def ask_to_stop(self) -> None:
        """Ask the shim to stop the program; safe from any thread, and does not wait."""
        with suppress(OSError):  # it has ended
            self._link.send(b"T")

    def attend(self, output: Output) -> Mapping[str, Any]:
        """Read the program's output until its end; return the shim's report."""
        report = b""
        with selectors.DefaultSelector() as selector:
            for stream, pipe in (
                (LogStream.STDOUT, self._process.stdout),
                (LogStream.STDERR, self._process.stderr),
            ):
                assert pipe is not None  # noqa: S101  # both are pipes
                os.set_blocking(pipe.fileno(), False)
                selector.register(pipe, selectors.EVENT_READ, stream)
            selector.register(self._link, selectors.EVENT_READ)
            while not report:
                for key, _ in selector.select(output.due_in):
                    if key.data is None:
                        report = self._receive_report()
                    elif not _read(key.fd, key.data, output):
                        selector.unregister(key.fileobj)
                output.flush_if_due()
            selector.unregister(self._link)
            for key in list(selector.get_map().values()):
                while _read(key.fd, key.data, output, until_empty=True):
                    pass
        output.close()
        return dict(json.loads(report))

    def _receive_report(self) -> bytes:
        with suppress(ConnectionResetError):  # the shim died with an unread message
            if report := self._link.recv(CHUNK):
                return report
        raise PlatformError("The process that supervises the program died; the program was ended.")

    def close(self) -> None:
        """Close the link: the shim kills the program and exits. If the shim died, kill the program here."""
        self._link.close()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(SHIM_EXIT_TIMEOUT)
        except subprocess.TimeoutExpired:
            log.exception("shim killed: it did not end", pid=self._process.pid)
            self._process.kill()
            self._process.wait()
        if self._process.returncode:
            log.error("shim died", pid=self._process.pid, exit_code=self._process.returncode)
            kill_marked_processes(self._mark)
            if self._uid is not None:
                end_user(self._uid)


def _read(descriptor: int, stream: LogStream, output: Output, *, until_empty: bool = False) -> bool:
    """Read once; return whether there may be more."""
    try:
        chunk = os.read(descriptor, CHUNK)
    except BlockingIOError:
        return not until_empty
    if chunk:
        output.feed(stream, chunk)
    return bool(chunk)


@contextmanager
def _start_shim(
    job: Job, hold: Hold, group: Group | None, *, mark: str, workdir: Path, limits: Limits
) -> Generator[ShimProcess]:
    """Start a program's shim; both get their orders as files in memory."""
    adopt_orphans()
    link, far_end = socket.socketpair()
    account = hold.account
    with ExitStack() as ours, far_end:
        of_program = ours.enter_context(_order_file(_program_order(job, hold)))
        of_shim = ours.enter_context(
            _order_file(
                {
                    **hold.options(),
                    "group": None if group is None else str(group.path),
                    "command": hold.command(of_program, job.directory),
                    "env": {**job.environment, MARK: mark},
                    "cwd": str(job.directory),
                    "workdir": str(workdir),
                    "grace": limits.grace.total_seconds(),
                    "memory": limits.memory,
                    "cpu": max(1, round(limits.cpu.total_seconds())),
                    "file_size": limits.file_size,
                    "processes": limits.processes,
                }
            )
        )
        inherited = [far_end.fileno(), of_program, of_shim]
        try:
            process = subprocess.Popen(  # noqa: S603  # our own program
                [sys.executable, "-I", "-S", str(SHIM), str(far_end.fileno()), str(of_shim)],
                env={MARK: mark},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=[*inherited, *hold.private],
                start_new_session=True,
            )
        except OSError:
            link.close()
            raise
    shim = ShimProcess(process, link, mark, None if account is None else account.uid)
    try:
        yield shim
    finally:
        shim.close()


def _program_order(job: Job, hold: Hold) -> Mapping[str, Any]:
    return {
        "arguments": list(job.arguments),
        "variables": {**job.variables, **hold.variables},
        "path": list(job.path),
        "packages": hold.packages,
        "stack": resource.getrlimit(resource.RLIMIT_STACK)[0],
    }


@contextmanager
def _order_file(order: Mapping[str, Any]) -> Generator[int]:
    """Yield a descriptor of a file in memory with an order."""
    descriptor = os.memfd_create("order")
    try:
        with open(descriptor, "wb", closefd=False) as file:  # a descriptor
            file.write(json.dumps(order).encode())
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)

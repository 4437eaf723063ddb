"""Runs one program under a warden, from its start until nothing of it is left."""

import json
import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import structlog

from shared.runs.lifecycle import StoppedHow
from shared.structures.groups import Group, lent_group
from worker.cancellation import CancelToken, RunStopped
from worker.executors.base import (
    Exited,
    InvalidConfigurationError,
    LogStream,
    PlatformError,
    WriteLines,
)
from worker.structures.accounts import end_user
from worker.structures.blotter import Blotter
from worker.structures.holding import Hold, Holder
from worker.structures.output import Output
from worker.structures.remains import MARK, adopt_orphans, end_remains

WARDEN: Final = Path(__file__).with_name("warden.py")
CHUNK: Final = 256 * 1024  # bytes of one read
KILLED: Final = 128 + signal.SIGKILL
GROUP_MEMORY: Final = 1 << 26  # bytes beyond a program's, for the kernel's and what holds it
GROUP_PROCESSES: Final = 10  # threads for each process that there may be
LAST_WAIT: Final = 15.0  # seconds; a warden that has lost its worker is through long before

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one program may use."""

    memory: int  # bytes, of each of its processes and of all together
    cpu: timedelta  # of each of its processes
    file_size: int  # bytes of one file
    processes: int  # at once
    log_bytes: int  # of its output, that are kept
    grace: timedelta  # between being asked to stop and being killed


@dataclass(frozen=True, slots=True)
class Job:
    """What a program is started with."""

    arguments: Sequence[str]  # its main file first
    directory: Path  # where it starts
    variables: Mapping[str, str] = field(default_factory=dict)  # once its interpreter has been started
    environment: Mapping[str, str] = field(default_factory=dict)  # already before that; nothing of a caller's
    path: Sequence[str] = ()  # where its modules are looked for first


def run_program(
    job: Job,
    *,
    mark: str,
    holder: Holder,
    secrets: Mapping[str, str],
    place: Path,
    limits: Limits,
    token: CancelToken,
    write_lines: WriteLines,
) -> Exited:
    """Run a program to its end, in this thread.

    Args:
        mark: by which its processes are known, and no other program's.
        place: the run's own directory, which goes with it if this process dies; `tmp` in it is for files.
        secrets: variables whose values are blotted out of what it writes.

    Raises:
        RunStopped: the token fired; nothing of the program is left.
        InvalidConfigurationError: it cannot be started.
        PlatformError: its warden died; what was left of the program has been killed.
        OSError: no process can be started here.
    """
    output = Output(write_lines, Blotter(secrets), limit=limits.log_bytes)
    (place / "tmp").mkdir(exist_ok=True)
    with (
        holder.hold(place) as hold,
        _group(holder, mark, limits) as group,
        _warden(job, hold, group, mark=mark, place=place, limits=limits) as warden,
        token.on_cancel(warden.ask_to_stop),
    ):
        report = warden.attend(output)
        if group is not None and report["why"] is None and group.ran_out_of_memory():
            report = {**report, "why": "memory"}
    if token.is_cancelled:
        raise RunStopped(StoppedHow.KILLED if report["killed"] else StoppedHow.COOPERATIVE)
    return _exited(report, limits, output.last_words)


def _exited(report: Mapping[str, Any], limits: Limits, last_words: str) -> Exited:
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
    said = f" It said last: {last_words}" if last_words else ""
    return Exited(exit_code, f"The program exited with code {exit_code}.{said}", last_words)


class Warden:
    """A warden, seen from the worker."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", line: socket.socket, mark: str, uid: int | None
    ) -> None:
        self._process = process
        self._line = line
        self._mark = mark  # of all processes of the program
        self._uid = uid  # of the program, if it is another than ours

    def ask_to_stop(self) -> None:
        """Have the program stopped; callable from any thread, and without waiting."""
        with suppress(OSError):  # it has ended
            self._line.send(b"T")

    def attend(self, output: Output) -> Mapping[str, Any]:
        """Take the program's output until it has ended; return how."""
        report = b""
        with selectors.DefaultSelector() as selector:
            for stream, pipe in (
                (LogStream.STDOUT, self._process.stdout),
                (LogStream.STDERR, self._process.stderr),
            ):
                assert pipe is not None  # noqa: S101  # both are pipes
                os.set_blocking(pipe.fileno(), False)
                selector.register(pipe, selectors.EVENT_READ, stream)
            selector.register(self._line, selectors.EVENT_READ)
            while not report:
                for key, _ in selector.select(output.due_in):
                    if key.data is None:
                        report = self._hear()
                    elif not _take(key.fd, key.data, output):
                        selector.unregister(key.fileobj)
                output.flush_if_due()
            selector.unregister(self._line)
            for key in list(selector.get_map().values()):
                while _take(key.fd, key.data, output, until_empty=True):
                    pass
        output.close()
        return dict(json.loads(report))

    def _hear(self) -> bytes:
        report = b""
        with suppress(ConnectionResetError):  # it died before it heard what it was told
            report = self._line.recv(CHUNK)
        if not report:
            raise PlatformError("The process that watches over the program died; the program was ended.")
        return report

    def close(self) -> None:
        """Let go: a warden without its worker kills everything and ends; of one that cannot, this does it."""
        self._line.close()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(LAST_WAIT)
        except subprocess.TimeoutExpired:
            log.exception("warden killed: it did not end", pid=self._process.pid)
            self._process.kill()
            self._process.wait()
        if self._process.returncode:
            log.error("warden died", pid=self._process.pid, exit_code=self._process.returncode)
            end_remains(self._mark)
            if self._uid is not None:
                end_user(self._uid)


def _take(descriptor: int, stream: LogStream, output: Output, *, until_empty: bool = False) -> bool:
    """Read once; say whether there may be more."""
    try:
        chunk = os.read(descriptor, CHUNK)
    except BlockingIOError:
        return not until_empty
    if chunk:
        output.feed(stream, chunk)
    return bool(chunk)


def _group(holder: Holder, mark: str, limits: Limits) -> AbstractContextManager[Group | None]:
    """The program's control group, if it gets one.

    It stands behind the warden, who looks at the very limits and can say more of them: it stops what grows
    faster than anybody looks. Threads are processes to it.
    """
    return lent_group(
        holder.sandbox.groups,
        mark,
        memory=limits.memory + GROUP_MEMORY,
        processes=limits.processes * GROUP_PROCESSES,
    )


@contextmanager
def _warden(
    job: Job, hold: Hold, group: Group | None, *, mark: str, place: Path, limits: Limits
) -> Generator[Warden]:
    """Start a program's warden: both are told what to do by files that have no name."""
    adopt_orphans()
    line, far_end = socket.socketpair()
    account = hold.account
    with ExitStack() as ours, far_end:
        of_program = ours.enter_context(_told(_program_order(job, hold)))
        of_warden = ours.enter_context(
            _told(
                {
                    **hold.options(),
                    "group": None if group is None else str(group.path),
                    "command": hold.command(of_program, job.directory),
                    "env": {**job.environment, MARK: mark},
                    "cwd": str(job.directory),
                    "place": str(place),
                    "grace": limits.grace.total_seconds(),
                    "memory": limits.memory,
                    "cpu": max(1, round(limits.cpu.total_seconds())),
                    "file_size": limits.file_size,
                    "processes": limits.processes,
                }
            )
        )
        inherited = [far_end.fileno(), of_program, of_warden]
        try:
            process = subprocess.Popen(  # noqa: S603  # our own program
                [sys.executable, "-I", "-S", str(WARDEN), str(far_end.fileno()), str(of_warden)],
                env={MARK: mark},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=[*inherited, *hold.private],
                start_new_session=True,
            )
        except OSError:
            line.close()
            raise
    warden = Warden(process, line, mark, None if account is None else account.uid)
    try:
        yield warden
    finally:
        warden.close()


def _program_order(job: Job, hold: Hold) -> Mapping[str, Any]:
    return {
        "arguments": list(job.arguments),
        "variables": {**job.variables, **hold.variables},
        "path": list(job.path),
        "packages": hold.packages,
        "stack": resource.getrlimit(resource.RLIMIT_STACK)[0],
    }


@contextmanager
def _told(order: Mapping[str, Any]) -> Generator[int]:
    """A descriptor to read an order from, which is in memory alone."""
    descriptor = os.memfd_create("order")
    try:
        with open(descriptor, "wb", closefd=False) as file:  # a descriptor
            file.write(json.dumps(order).encode())
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)

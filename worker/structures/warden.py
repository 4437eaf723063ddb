"""Stands between a worker and a program, so that no process of the program outlives it.

A script of the standard library alone, one for each program:

    python -I -S warden.py '{"line": 5, "grace": 5.0, …}' -- command…

It is the subreaper of whatever the program starts: what detaches itself comes back to it as its child.
`line` is its end of a socket: a byte from the worker means stop, and its end means that the worker is
gone; then the program's directory, `place`, goes with it. When nothing of the program is left, one JSON
object goes the other way: how it ended.
"""

import ctypes
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Iterable
from typing import Any

WATCH = 0.05  # seconds between two looks at what the program uses
LOOK_SHARE = 4  # a look at a large program is dear: after it, this many times its length passes
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
NICE = 10
ENDED = 10  # ended processes that were not waited for, for each process there may be
THREAD_STACK = 1 << 20  # bytes, that count as memory, touched or not
LOADING = 0.2  # seconds after which a program has read how large its threads' stacks are to be
CPU_MERCY = 5  # seconds from the signal that says so to the end, for one that ignores it
OUT_OF_MEMORY_FIRST = "1000"  # the kernel's word for: end this one before any other
UNKILLABLE_AFTER = 60.0  # seconds; a process that the kernel itself does not let go
PAGE = resource.getpagesize()


class Warden:
    """Watches one program to its end."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.main_pid = 0
        self.status: int | None = None  # of the main process, once it has ended
        self.why: str | None = None  # why everything was killed, if it was for a limit
        self.was_killed = False  # after it was asked to stop
        self.kill_at: float | None = None
        self.look_at = 0.0
        self.room_at: float | None = None  # when the main thread gets its usual stack

    def run(self, command: list[str]) -> dict[str, Any]:
        wake = _wake_on_child()
        error = self.spawn(command)
        if error is not None:
            return {"exit_code": 127, "killed": False, "why": "spawn", "message": error}
        self.room_at = time.monotonic() + LOADING
        readable = [self.options["line"], wake]
        while self.status is None:
            ready, _, _ = select.select(readable, [], [], WATCH)
            self.turn(ready, readable)
        self.kill_all()
        return {"exit_code": _exit_code(self.status or 0), "killed": self.was_killed, "why": self.why}

    def turn(self, ready: list[int], readable: list[int]) -> None:
        """Do what is due: hear the worker, keep the deadline and the limits, see who has ended."""
        line, wake = self.options["line"], readable[-1]
        if wake in ready:
            os.read(wake, 4096)
        if line in ready:
            self.hear(line, readable)
        if self.kill_at is not None and time.monotonic() >= self.kill_at:
            self.was_killed, self.kill_at = True, None
            self.kill_all()
        if self.room_at is not None and time.monotonic() >= self.room_at:
            self.room_at = None
            self.make_room()
        if time.monotonic() >= self.look_at:
            started = time.thread_time()
            self.look()
            self.look_at = time.monotonic() + max(WATCH, LOOK_SHARE * (time.thread_time() - started))
        self.reap()

    def hear(self, line: int, readable: list[int]) -> None:
        """Take the worker's word; at its end the worker is gone."""
        said = os.read(line, 64)
        if not said:  # the worker is gone
            self.was_killed = True
            readable.remove(line)
            self.kill_all()
        elif self.kill_at is None and not self.was_killed:
            self.kill_at = time.monotonic() + self.options["grace"]
            _signal(descendants(os.getpid()), signal.SIGTERM)

    def look(self) -> None:
        """End a program that has grown beyond its limits."""
        pids = descendants(os.getpid(), most=ENDED * self.options["processes"] + 1)
        if self.has_too_many_processes(pids):
            self.why = "processes"
        elif self.has_too_much_memory(pids):
            self.why = "memory"
        if self.why is not None:
            self.kill_all()

    def has_too_many_processes(self, pids: list[int]) -> bool:
        """Whether too many live; or so many have ended unnoticed that others might find no number."""
        most: int = self.options["processes"]
        if len(pids) <= most:
            return False
        return len(pids) > ENDED * most or sum(map(_lives, pids)) > most

    def has_too_much_memory(self, pids: list[int]) -> bool:
        """Whether processes together have too much; each one's share is asked for only if that may be."""
        most: int = self.options["memory"]
        return sum(_resident(pid)[0] for pid in pids) > most and sum(map(_memory, pids)) > most

    def spawn(self, command: list[str]) -> str | None:
        """Start the program; return what kept it from starting, if anything did."""
        told, tell = os.pipe()
        warden = os.getpid()
        self.main_pid = os.fork()
        if self.main_pid == 0:
            try:
                self.become(command, warden)
            except BaseException as error:  # noqa: BLE001  # the fork must not go on as a second warden
                os.write(tell, str(error).encode())
            os._exit(127)
        os.close(tell)
        why_not = os.read(told, 4096).decode(errors="replace")
        os.close(told)
        if why_not:
            self.reap()
        return why_not or None

    def make_room(self) -> None:
        """Give the main thread the stack it would have had; its threads keep to what it began with."""
        try:
            resource.prlimit(self.main_pid, resource.RLIMIT_STACK, resource.getrlimit(resource.RLIMIT_STACK))
        except OSError:
            return  # it has ended, or become somebody else

    def become(self, command: list[str], warden: int) -> None:
        """Turn this fork into the program, which dies with its warden."""
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != warden:  # it died before the kernel was told
            return
        os.setsid()
        for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGCHLD", "SIGPIPE"):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
        os.nice(NICE)
        _write("/proc/self/oom_score_adj", OUT_OF_MEMORY_FIRST)
        _limit(resource.RLIMIT_DATA, self.options["memory"])
        _limit(resource.RLIMIT_CPU, self.options["cpu"], more=CPU_MERCY)
        _limit(resource.RLIMIT_FSIZE, self.options["file_size"])
        _limit(resource.RLIMIT_CORE, 0)
        _, most = resource.getrlimit(resource.RLIMIT_STACK)
        if most == resource.RLIM_INFINITY or most > THREAD_STACK:
            resource.setrlimit(resource.RLIMIT_STACK, (THREAD_STACK, most))
        os.execvpe(command[0], command, os.environ)  # noqa: S606  # there is no shell to be had

    def reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid == self.main_pid:
                self.status = status

    def kill_all(self) -> None:
        """Kill whatever there is, as long as there is anything: a program may fork while it is killed.

        By process groups first: the kernel signals all of one at once, which is the only way to outrun what
        forks without end. Only what the kernel itself does not let go is given up.
        """
        if self.status is None:  # its number is still its own
            _signal_group(self.main_pid)
        known: set[int] = set()
        deadline = 0.0
        while pids := descendants(os.getpid()):
            if not known.issuperset(pids):
                known.update(pids)
                deadline = time.monotonic() + UNKILLABLE_AFTER
            elif time.monotonic() > deadline:
                return
            kill_groups(pids)
            _signal(pids, signal.SIGSTOP)
            _signal(pids, signal.SIGKILL)
            time.sleep(0.002)
            self.reap()


def descendants(pid: int, *, most: int = 1 << 30) -> list[int]:
    """The processes under a process, at whatever depth; also those that have ended and were not reaped.

    The search ends with `most`: there may be more of them each time one looks.
    """
    found: list[int] = []
    unseen = [pid]
    while unseen and len(found) < most:
        children = _children(unseen.pop())
        found += children
        unseen += children
    return found


def _children(pid: int) -> list[int]:
    children: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208  # pathlib is dear
            with open(f"/proc/{pid}/task/{thread}/children") as listed:  # noqa: PTH123
                children += map(int, listed.read().split())
    except OSError:
        return children  # it has just ended
    return children


def _lives(pid: int) -> bool:
    """Whether a process is more than an exit code that nobody has asked for."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as fields:  # noqa: PTH123
            return fields.read().rpartition(b")")[2].split()[0] not in {b"Z", b"X"}
    except OSError:
        return False


def _resident(pid: int) -> tuple[int, int]:
    """Bytes that a process has in memory, and how many of them are files or shared memory; quick to tell."""
    try:
        with open(f"/proc/{pid}/statm") as numbers:  # noqa: PTH123
            _, resident, shared, *_ = map(int, numbers.read().split())
    except (OSError, ValueError):
        return 0, 0  # it has just ended
    return resident * PAGE, shared * PAGE


def _memory(pid: int) -> int:
    """Bytes that a process has, with its share of what it shares with others; files apart."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as lines:  # noqa: PTH123
            fields = [line.split() for line in lines]
    except OSError:  # it has just ended, or the kernel does not tell
        resident, shared = _resident(pid)
        return resident - shared
    return sum(int(size) * 1024 for name, size, *_ in fields if name in {"Pss_Anon:", "Pss_Shmem:"})


def kill_groups(pids: Iterable[int]) -> None:
    """Kill the process groups of some processes, but for one's own."""
    groups: set[int] = set()
    for pid in pids:
        try:
            groups.add(os.getpgid(pid))
        except ProcessLookupError:
            continue
    for group in groups - {os.getpgrp()}:
        _signal_group(group)


def _signal_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # it has ended


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue


def _wake_on_child() -> int:
    """A descriptor that becomes readable when a child ends."""
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return wake


def _exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _limit(kind: int, soft: int, *, more: int = 0) -> None:
    """Set a limit of this process, not beyond what it inherits; `more` is what the hard one has beyond."""
    _, inherited = resource.getrlimit(kind)
    limits = (soft, soft + more)
    if inherited != resource.RLIM_INFINITY:
        limits = (min(soft, inherited), min(soft + more, inherited))
    resource.setrlimit(kind, limits)


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w") as file:  # noqa: PTH123
            file.write(text)
    except OSError:
        return  # not on this system


def _remove(place: str) -> None:
    """Remove a directory with what is in it; links in it are removed, not followed."""
    import shutil  # noqa: PLC0415  # dear, and seldom needed

    shutil.rmtree(place, ignore_errors=True)


def main() -> None:
    options = json.loads(sys.argv[1])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.set_inheritable(options["line"], False)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    report = json.dumps(Warden(options).run(sys.argv[3:]))
    try:
        os.write(options["line"], report.encode())
    except OSError:  # nobody is there to know, nor to clean up
        _remove(options["place"])


if __name__ == "__main__":
    main()

"""Stands between a worker and a program, so that no process of the program outlives it.

A script of the standard library alone, one for each program:

    python -I -S warden.py LINE ORDER
    python -I -S warden.py empty UID

It is the subreaper of whatever the program starts: what detaches itself comes back to it as its child.
`LINE` is its end of a socket: a byte from the worker means stop, and its end means that the worker is
gone; then the program's directory, `place`, goes with it. When nothing of the program is left, one JSON
object goes the other way: how it ended. `ORDER` is a descriptor to read what is to be done from. Its own
arguments and environment hold nothing of a caller's. The second form kills all that a user executes.
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
PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
CLONE_NEWNS = 0x00020000
CLONE_NEWIPC = 0x08000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND = 1, 2, 4, 32, 4096
MS_REC, MS_PRIVATE = 16384, 1 << 18
NICE = 10
ENDED = 10  # ended processes that were not waited for, for each process there may be
THREAD_STACK = 1 << 20  # bytes, that count as memory, touched or not
CPU_MERCY = 5  # seconds from the signal that says so to the end, for one that ignores it
OUT_OF_MEMORY_FIRST = "1000"  # the kernel's word for: end this one before any other
UNKILLABLE_AFTER = 60.0  # seconds; a process that the kernel itself does not let go
PAGE = resource.getpagesize()
SHARED_DIRECTORIES = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108  # where every user may leave files
EMPTYING = 10.0  # seconds that a user's processes may take to be gone


class Warden:
    """Watches one program to its end."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.main_pid = 0
        self.status: int | None = None  # of the main process, once it has ended
        self.why: str | None = None  # why everything was killed, if it was for a limit
        self.was_killed = False  # after it was asked to stop
        self.kill_at: float | None = None
        self.to_ask = False  # whether the program is still to be asked to stop
        self.look_at = 0.0
        self.told = -1  # where the program, and what stands before it, tell of their start

    def run(self) -> dict[str, Any]:
        account: list[int] | None = self.options["account"]
        if account is not None and not empty(account[0]):
            return _unstarted(f"the user {account[0]} executes something that cannot be ended")
        wake = _wake_on_child()
        self.spawn()
        readable = [self.options["line"], wake]
        while self.status is None:
            ready, _, _ = select.select(readable, [], [], WATCH)
            self.turn(ready, readable)
        self.kill_all()
        if account is not None and not self.options["layers"]:
            empty(account[0])
            sweep(account[0])
        said = self.said()
        if said != "+" and self.why is None and not self.was_killed and self.kill_at is None:
            return _unstarted(said or "what holds it did not start")
        return {"exit_code": _exit_code(self.status or 0), "killed": self.was_killed, "why": self.why}

    def said(self) -> str:
        """What was told of the start: `+` if the program began, or else what kept it from that."""
        os.set_blocking(self.told, False)
        try:
            return os.read(self.told, 4096).decode(errors="replace")
        except BlockingIOError:
            return ""

    def turn(self, ready: list[int], readable: list[int]) -> None:
        """Do what is due: hear the worker, keep the deadline and the limits, see who has ended."""
        line, wake = self.options["line"], readable[-1]
        if wake in ready:
            os.read(wake, 4096)
        if line in ready:
            self.hear(line, readable)
        if self.to_ask and (pids := self.pids()):  # a sandbox may be on its way to the program
            self.to_ask = False
            _signal(pids, signal.SIGTERM)
        if self.kill_at is not None and time.monotonic() >= self.kill_at:
            self.was_killed, self.kill_at = True, None
            self.kill_all()
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
            self.to_ask = True

    def pids(self, *, most: int = 1 << 30) -> list[int]:
        """The processes of the program, without those of its sandbox, which would take it with them."""
        if not self.options["layers"]:
            return descendants(os.getpid(), most=most)
        tops = [self.main_pid]
        for _ in range(self.options["layers"] - 1):
            tops = [child for top in tops for child in children(top)]
        return [pid for top in tops for pid in descendants(top, most=most)]

    def look(self) -> None:
        """End a program that has grown beyond its limits."""
        pids = self.pids(most=ENDED * self.options["processes"] + 1)
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

    def spawn(self) -> None:
        """Start the program, or what is to hold it."""
        self.told, tell = os.pipe()
        warden = os.getpid()
        self.main_pid = os.fork()
        if self.main_pid == 0:
            try:
                self.become(warden, tell)
            except BaseException as error:  # noqa: BLE001  # the fork must not go on as a second warden
                os.write(tell, str(error).encode())
            os._exit(127)
        os.close(tell)

    def become(self, warden: int, tell: int) -> None:
        """Turn this fork into the program, which dies with its warden."""
        if self.options["group"] is not None:
            with open(f"{self.options['group']}/cgroup.procs", "w") as group:  # noqa: PTH123
                group.write("0")
        _prctl(PR_SET_DUMPABLE, 1)  # what is below belongs to it
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
        if self.options["covers"]:
            reveal(self.options["covers"], self.options["shown"])
        if self.options["account"] is not None:
            _become_user(*self.options["account"])
        _prctl(PR_SET_NO_NEW_PRIVS, 1)
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # after the change of user, which would clear it
        if os.getppid() != warden:  # it died before the kernel was told
            return
        os.chdir(self.options["cwd"])
        command = [word.replace("{tell}", str(tell)) for word in self.options["command"]]
        os.set_inheritable(tell, True)
        os.execve(command[0], command, self.options["env"])  # noqa: S606  # there is no shell to be had

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
        if self.options["group"] is not None:  # all at once, and nothing can outrun it
            _write(f"{self.options['group']}/cgroup.kill", "1")
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
        below = children(unseen.pop())
        found += below
        unseen += below
    return found


def children(pid: int) -> list[int]:
    """The processes that a process has started, or adopted; also those that have ended."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208  # pathlib is dear
            with open(f"/proc/{pid}/task/{thread}/children") as listed:  # noqa: PTH123
                found += map(int, listed.read().split())
    except OSError:
        return found  # it has just ended
    return found


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


def _unstarted(message: str) -> dict[str, Any]:
    return {"exit_code": 127, "killed": False, "why": "start", "message": message}


def _become_user(uid: int, gid: int) -> None:
    """Become another user for good, who may open again what the output goes to."""
    for descriptor in (1, 2):
        os.fchown(descriptor, uid, gid)
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def reveal(covers: list[str], shown: list[list[Any]]) -> None:
    """Give this process a view in which some directories hold nothing but what is shown of them.

    Args:
        covers: directories that other users cannot enter.
        shown: paths below them, each with whether it may be written to.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.unshare(CLONE_NEWNS | CLONE_NEWIPC))
    _mount(libc, "none", "/", MS_REC | MS_PRIVATE)
    opened = [(os.open(path, os.O_PATH), path, os.path.isdir(path), writable) for path, writable in shown]  # noqa: PTH112
    for cover in covers:
        _mount(libc, "tmpfs", cover, MS_NOSUID | MS_NODEV, kind="tmpfs", options="mode=0755,size=1m")
    for descriptor, path, is_directory, is_writable in opened:
        _make(path, is_directory=is_directory)
        _mount(libc, f"/proc/self/fd/{descriptor}", path, MS_BIND | MS_REC)
        if not is_writable:
            _mount(libc, "none", path, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)
        os.close(descriptor)
    for cover in covers:
        _mount(libc, "none", cover, MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)


def _make(path: str, *, is_directory: bool) -> None:
    os.makedirs(path if is_directory else os.path.dirname(path), mode=0o755, exist_ok=True)  # noqa: PTH103, PTH120
    if not is_directory and not os.path.exists(path):  # noqa: PTH110
        os.close(os.open(path, os.O_CREAT, 0o644))


def _mount(
    libc: ctypes.CDLL, source: str, target: str, flags: int, *, kind: str = "none", options: str = ""
) -> None:
    texts = (source.encode(), target.encode(), kind.encode())
    _check(libc.mount(*texts, ctypes.c_ulong(flags), options.encode()), target)


def _check(result: int, what: str = "") -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def empty(uid: int) -> bool:
    """Kill all that a user executes; say whether nothing is left. It takes root."""
    deadline = time.monotonic() + EMPTYING
    while _executes(uid):
        if time.monotonic() > deadline:
            return False
        _kill_user(uid)
        time.sleep(0.002)
        _reap_strays()
    return True


def _executes(uid: int) -> bool:
    """Whether a user executes anything, by any of its four ids."""
    for name in os.listdir("/proc"):  # noqa: PTH208
        if not name.isdecimal():
            continue
        try:
            with open(f"/proc/{name}/status", "rb") as status:  # noqa: PTH123
                ids = status.read().partition(b"\nUid:")[2].partition(b"\n")[0].split()
        except OSError:
            continue  # it has just ended
        if str(uid).encode() in ids:
            return True
    return False


def _kill_user(uid: int) -> None:
    """Kill at once all that a user executes: the kernel does it, faster than anything forks."""
    killer = os.fork()
    if killer == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            os.kill(-1, signal.SIGKILL)
        finally:
            os._exit(0)
    os.waitpid(killer, 0)


def _reap_strays() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def sweep(uid: int) -> None:
    """Remove what a user has left in directories that are everybody's."""
    for directory in SHARED_DIRECTORIES:
        try:
            with os.scandir(directory) as entries:
                own = [entry.path for entry in entries if entry.stat(follow_symlinks=False).st_uid == uid]
        except OSError:
            continue
        for path in own:
            if os.path.isdir(path) and not os.path.islink(path):  # noqa: PTH112, PTH114
                _remove(path)
            else:
                os.unlink(path)  # noqa: PTH108


def main() -> None:
    if sys.argv[1] == "empty":
        uid = int(sys.argv[2])
        is_empty = empty(uid)
        sweep(uid)
        sys.exit(not is_empty)
    line, order = map(int, sys.argv[1:])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _prctl(PR_SET_DUMPABLE, 0)
    os.set_inheritable(line, False)
    with open(order, "rb") as told:  # noqa: PTH123  # a descriptor
        options = json.load(told)
    options["line"] = line
    for descriptor in options["private"]:
        os.set_inheritable(descriptor, False)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    report = json.dumps(Warden(options).run())
    try:
        os.write(line, report.encode())
    except OSError:  # nobody is there to know, nor to clean up
        _remove(options["place"])


if __name__ == "__main__":
    main()

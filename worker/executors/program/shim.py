"""The shim: a process between worker and program, which kills every process of the program at its end.

A script of the standard library alone; each program has one:

    python -I -S shim.py LINK ORDER
    python -I -S shim.py kill-user UID DIRECTORY

The shim is the subreaper of the program: a detached process becomes its child. `LINK` is the descriptor of
its end of a socket pair. A byte from the worker means stop. EOF means that the worker died; the shim then
also removes the program's directory, `workdir`, and its control group. When no process of the program is
left, the shim sends one JSON object: how the program ended. `ORDER` is a descriptor with the options, as
JSON. The shim's arguments and environment hold nothing of a caller's. The second form kills every process
of a user, and removes what they left, in `DIRECTORY` too.
"""

import ctypes
import json
import os
import resource
import select
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

CHECK_INTERVAL = 0.05  # seconds between two checks of the limits
CHECK_PAUSE_FACTOR = 4  # a check of a large program is slow: the pause after it is this many times as long
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
CLONE_NEWNS = 0x00020000
CLONE_NEWIPC = 0x08000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND = 1, 2, 4, 32, 4096
MS_REC, MS_PRIVATE = 16384, 1 << 18
NICE = 10
MAX_ZOMBIES = 10  # for each process that the program may have
THREAD_STACK = 1 << 20  # bytes; they count as memory, touched or not
CPU_GRACE = 5  # seconds between SIGXCPU and SIGKILL
OOM_SCORE_FIRST = "1000"  # the kernel kills this process before any other
KILL_TIMEOUT = 60.0  # seconds; for a process that the kernel does not let go
PAGE = resource.getpagesize()
SHARED_DIRECTORIES = ("/tmp", "/var/tmp", "/run/lock", "/dev/shm", "/dev/mqueue")  # noqa: S108
"""Every user can write there."""

IPC_RMID = 0
KEYCTL = {"x86_64": 250, "aarch64": 219, "riscv64": 219}  # the number of the system call
KEYCTL_CLEAR, KEYCTL_GET_PERSISTENT = 7, 22
KEYS_OF_PROCESS, KEYS_OF_USER, KEYS_OF_USER_SESSION = -2, -4, -5  # keyrings
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
KILL_USER_TIMEOUT = 10.0  # seconds until a user has no process left


class Shim:
    """Supervises one program until its end."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.main_pid = 0
        self.status: int | None = None  # of the main process, once it has ended
        self.why: str | None = None  # the limit for which the program was killed
        self.was_killed = False  # after the grace of a stop
        self.kill_at: float | None = None
        self.must_terminate = False  # whether SIGTERM is still to be sent
        self.check_at = 0.0
        self.start_pipe = -1  # the sandbox and the program report their start there

    def run(self) -> dict[str, Any]:
        account: list[int] | None = self.options["account"]
        if account is not None and not kill_user(account[0]):
            return _unstarted(f"the user {account[0]} has a process that cannot be killed")
        wake, woken = os.pipe()  # readable when a child ends
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(woken)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.spawn()
        readable = select.poll()  # unlike `select`, for descriptors of any number: the link has the worker's
        for descriptor in (self.options["link"], wake):
            readable.register(descriptor, select.POLLIN)
        while self.status is None:
            ready = [descriptor for descriptor, _ in readable.poll(CHECK_INTERVAL * 1000)]
            self.step(ready, readable, wake)
        self.kill_all()
        if account is not None and not self.options["layers"]:
            kill_user(account[0])
            sweep(account[0], os.path.dirname(self.options["workdir"]))  # noqa: PTH120
            remove_shared(account[0])
        said = self.start_report()
        if said != "+" and self.why is None and not self.was_killed and self.kill_at is None:
            return _unstarted(said or "the sandbox did not start")
        code = os.waitstatus_to_exitcode(self.status or 0)
        exit_code = code if code >= 0 else 128 - code
        return {"exit_code": exit_code, "killed": self.was_killed, "why": self.why}

    def start_report(self) -> str:
        """Return `+` if the program began, else the error that kept it from beginning."""
        os.set_blocking(self.start_pipe, False)
        try:
            return os.read(self.start_pipe, 4096).decode(errors="replace")
        except BlockingIOError:
            return ""

    def step(self, ready: list[int], readable: select.poll, wake: int) -> None:
        """Read the worker's message, enforce deadline and limits, reap ended processes."""
        if wake in ready:
            os.read(wake, 4096)
        if self.options["link"] in ready:
            self.read_message(self.options["link"], readable)
        if self.must_terminate and (pids := self.pids()):  # a sandbox may not have started the program yet
            self.must_terminate = False
            _signal(pids, signal.SIGTERM)
        if self.kill_at is not None and time.monotonic() >= self.kill_at:
            self.was_killed, self.kill_at = True, None
            self.kill_all()
        if time.monotonic() >= self.check_at:
            started = time.thread_time()
            self.check_limits()
            pause = CHECK_PAUSE_FACTOR * (time.thread_time() - started)
            self.check_at = time.monotonic() + max(CHECK_INTERVAL, pause)
        self.reap()

    def read_message(self, link: int, readable: select.poll) -> None:
        """Stop the program on a byte from the worker; kill it on EOF."""
        if not os.read(link, 64):  # the worker died
            self.was_killed = True
            readable.unregister(link)
            self.kill_all()
        elif self.kill_at is None and not self.was_killed:
            self.kill_at = time.monotonic() + self.options["grace"]
            self.must_terminate = True

    def pids(self, *, most: int = 1 << 30) -> list[int]:
        """Return the program's processes without the sandbox's, whose death would kill the program."""
        if not self.options["layers"]:
            return descendants(os.getpid(), most=most)
        tops = [self.main_pid]
        for _ in range(self.options["layers"] - 1):
            tops = [child for top in tops for child in children(top)]
        return [pid for top in tops for pid in descendants(top, most=most)]

    def check_limits(self) -> None:
        """Kill a program that exceeds its limits."""
        processes, memory = self.options["processes"], self.options["memory"]
        pids = self.pids(most=MAX_ZOMBIES * processes + 1)
        has_many = len(pids) > processes
        # Zombies do not count until there are so many that process numbers get scarce.
        if has_many and (len(pids) > MAX_ZOMBIES * processes or sum(map(_is_running, pids)) > processes):
            self.why = "processes"
        # The sum of resident sizes is quick to read and never less than the exact, slow one.
        elif sum(map(_resident, pids)) > memory and self.exact_memory(pids) > memory:
            self.why = "memory"
        if self.why is not None:
            self.kill_all()

    def exact_memory(self, pids: list[int]) -> int:
        """Return the bytes of the processes, read as their user: root of a container may not read others'."""
        if self.options["account"] is None:
            return sum(map(_memory, pids))
        uid, gid = self.options["account"]
        os.setegid(gid)
        os.seteuid(uid)
        try:
            return sum(map(_memory, pids))
        finally:
            os.seteuid(0)
            os.setegid(0)

    def spawn(self) -> None:
        """Start the program, or its sandbox."""
        self.start_pipe, tell = os.pipe()
        shim = os.getpid()
        self.main_pid = os.fork()
        if self.main_pid == 0:
            try:
                self.exec_program(shim, tell)
            except BaseException as error:  # noqa: BLE001  # the fork must not continue as a second shim
                os.write(tell, str(error).encode())
            os._exit(127)
        os.close(tell)

    def exec_program(self, shim: int, tell: int) -> None:
        """Turn this fork into the program, which dies with its shim."""
        if self.options["group"] is not None:
            with open(f"{self.options['group']}/cgroup.procs", "w") as group:  # noqa: PTH123
                group.write("0")
        _prctl(PR_SET_DUMPABLE, 1)  # its /proc files belong to its user
        os.setsid()
        for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGCHLD", "SIGPIPE"):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
        os.nice(NICE)
        _write("/proc/self/oom_score_adj", OOM_SCORE_FIRST)
        _limit(resource.RLIMIT_DATA, self.options["memory"])
        _limit(resource.RLIMIT_CPU, self.options["cpu"], more=CPU_GRACE)
        _limit(resource.RLIMIT_FSIZE, self.options["file_size"])
        _limit(resource.RLIMIT_CORE, 0)
        _, most = resource.getrlimit(resource.RLIMIT_STACK)
        if most == resource.RLIM_INFINITY or most > THREAD_STACK:
            resource.setrlimit(resource.RLIMIT_STACK, (THREAD_STACK, most))
        if self.options["covers"]:
            mask = os.umask(stat.S_IWGRP | stat.S_IWOTH)  # the program's user passes through what is made
            mount_view(self.options["covers"], self.options["shown"])
            os.umask(mask)
        if self.options["account"] is not None:
            uid, gid = self.options["account"]
            for descriptor in (1, 2):  # the user may reopen the output descriptors
                os.fchown(descriptor, uid, gid)
            _become(uid, gid)
        _prctl(PR_SET_NO_NEW_PRIVS, 1)
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # after the change of user, which clears it
        if os.getppid() != shim:  # the shim died before this call
            return
        os.chdir(self.options["cwd"])
        command = [word.replace("{tell}", str(tell)) for word in self.options["command"]]
        os.set_inheritable(tell, True)
        os.execve(command[0], command, self.options["env"])  # noqa: S606  # no shell involved

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
        """Kill every process of the program, repeatedly: a program may fork while it is killed.

        Process groups come first: the kernel signals a whole group at once, faster than a program forks.
        Only processes that the kernel does not let go are left, after KILL_TIMEOUT.
        """
        if self.options["group"] is not None:  # the kernel kills the whole group
            _write(f"{self.options['group']}/cgroup.kill", "1")
        if self.status is None:  # not reaped, so its number is not reused
            _signal_group(self.main_pid)
        known: set[int] = set()
        deadline = 0.0
        while pids := descendants(os.getpid()):
            if not known.issuperset(pids):
                known.update(pids)
                deadline = time.monotonic() + KILL_TIMEOUT
            elif time.monotonic() > deadline:
                return
            kill_groups(pids)
            _signal(pids, signal.SIGSTOP)
            _signal(pids, signal.SIGKILL)
            time.sleep(0.002)
            self.reap()


def descendants(pid: int, *, most: int = 1 << 30) -> list[int]:
    """Return the descendants of a process, zombies included; at least `most`, if there are that many.

    The bound ends the search in a program that keeps forking.
    """
    found: list[int] = []
    unseen = [pid]
    while unseen and len(found) < most:
        below = children(unseen.pop())
        found += below
        unseen += below
    return found


def children(pid: int) -> list[int]:
    """Return the children of a process, adopted ones and zombies included."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208  # pathlib is slow to import
            with open(f"/proc/{pid}/task/{thread}/children") as listed:  # noqa: PTH123
                found += map(int, listed.read().split())
    except OSError:
        return found  # it has just ended
    return found


def _is_running(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as fields:  # noqa: PTH123
            return fields.read().rpartition(b")")[2].split()[0] not in {b"Z", b"X"}
    except OSError:
        return False


def _resident(pid: int) -> int:
    """Return the resident bytes of a process."""
    try:
        with open(f"/proc/{pid}/statm") as numbers:  # noqa: PTH123
            return int(numbers.read().split()[1]) * PAGE
    except (OSError, IndexError):
        return 0  # it has just ended


def _memory(pid: int) -> int:
    """Return the proportional bytes (PSS) of a process without files, or the resident if those are closed."""
    for path, names in (("smaps_rollup", {"Pss_Anon:", "Pss_Shmem:"}), ("status", {"RssAnon:", "RssShmem:"})):
        try:
            with open(f"/proc/{pid}/{path}") as lines:  # noqa: PTH123
                fields = [line.split() for line in lines]
        except OSError:  # it has just ended, or closed itself, or this kernel lacks the file
            continue
        return sum(int(size[0]) * 1024 for name, *size in fields if name in names)
    return 0


def kill_groups(pids: Iterable[int]) -> None:
    """Kill the process groups of the processes, except the caller's own."""
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


def _limit(kind: int, soft: int, *, more: int = 0) -> None:
    """Set a limit of this process, within the inherited one; the hard limit is `more` higher."""
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


def remove(path: str | os.PathLike[str]) -> None:
    """Remove a directory and its content, of which no process is left, unless it has gone already.

    A link is removed and not followed, also one that a program has put where the directory was. What
    lies deeper is moved up before it is removed: a program may have nested its directories deeper than a path
    is long, a stack, or the number of files that may be open.

    Raises:
        OSError: not all of it could be removed.
    """
    if os.path.islink(path) or not os.path.isdir(path):  # noqa: PTH112, PTH114
        with suppress(FileNotFoundError):  # it went with the files of its user
            os.unlink(path)  # noqa: PTH108
        return
    os.chmod(path, stat.S_IRWXU)  # noqa: PTH101  # a program may have closed it
    top = os.open(path, DIRECTORY)
    try:
        mark, number = os.urandom(16).hex(), 0  # no name in there begins so
        unseen = _without_files(top)
        while unseen:
            name = unseen.pop()
            try:
                os.chmod(name, stat.S_IRWXU, dir_fd=top)
                inner = os.open(name, DIRECTORY, dir_fd=top)
            except OSError:
                continue  # the removal of `path` tells
            try:
                for below in _without_files(inner):
                    number += 1
                    moved = f"{mark}{number}"
                    if _move_up(below, inner, moved, top):
                        unseen.append(moved)
            finally:
                os.close(inner)
            _try(os.rmdir, name, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(path)  # noqa: PTH106


def _without_files(directory: int) -> list[str]:
    """Remove what is no directory in an open directory; return the names of the directories."""
    with os.scandir(directory) as entries:
        kinds = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in kinds:
        if not is_directory:
            _try(os.unlink, name, dir_fd=directory)
    return [name for name, is_directory in kinds if is_directory]


def _move_up(name: str, directory: int, moved: str, top: int) -> bool:
    """Move a directory to the top under another name, once it lets itself be moved."""
    return _try(os.chmod, name, stat.S_IRWXU, dir_fd=directory) and _try(
        os.rename, name, moved, src_dir_fd=directory, dst_dir_fd=top
    )


def _try(act: Callable[..., object], *args: Any, **options: Any) -> bool:
    """Do something with a file; return whether the kernel let it be done."""
    try:
        act(*args, **options)
    except OSError:
        return False
    return True


def remove_group(path: str) -> None:
    """Remove a control group, once the kernel has let its last process go."""
    deadline = time.monotonic() + KILL_USER_TIMEOUT
    while not _try(os.rmdir, path) and os.path.isdir(path) and time.monotonic() < deadline:  # noqa: PTH112
        time.sleep(0.01)


def _unstarted(message: str) -> dict[str, Any]:
    return {"exit_code": 127, "killed": False, "why": "start", "message": message}


def mount_view(covers: list[str], shown: list[list[Any]]) -> None:
    """Give this process a mount namespace in which the covered directories hold only the shown paths.

    Args:
        covers: directories that other users cannot enter.
        shown: paths below them, each with whether it is writable.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.unshare(CLONE_NEWNS | CLONE_NEWIPC))
    _mount(libc, "none", "/", MS_REC | MS_PRIVATE)
    opened = [(os.open(path, os.O_PATH), path, os.path.isdir(path), writable) for path, writable in shown]  # noqa: PTH112
    for cover in covers:
        _mount(libc, "tmpfs", cover, MS_NOSUID | MS_NODEV, kind="tmpfs", options="mode=0755,size=1m")
    for descriptor, path, is_directory, is_writable in opened:
        os.makedirs(path if is_directory else os.path.dirname(path), mode=0o755, exist_ok=True)  # noqa: PTH103, PTH120
        if not is_directory and not os.path.exists(path):  # noqa: PTH110
            os.close(os.open(path, os.O_CREAT, 0o644))
        _mount(libc, f"/proc/self/fd/{descriptor}", path, MS_BIND | MS_REC)
        if not is_writable:
            _mount(libc, "none", path, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)
        os.close(descriptor)
    for cover in covers:
        _mount(libc, "none", cover, MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)


def _mount(
    libc: ctypes.CDLL, source: str, target: str, flags: int, *, kind: str = "none", options: str = ""
) -> None:
    texts = (source.encode(), target.encode(), kind.encode())
    _check(libc.mount(*texts, ctypes.c_ulong(flags), options.encode()), target)


def _check(result: int, what: str = "") -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def kill_user(uid: int) -> bool:
    """Kill every process of a user; return whether none is left. Needs root."""
    deadline = time.monotonic() + KILL_USER_TIMEOUT
    while _has_processes(uid):
        if time.monotonic() > deadline:
            return False
        # One system call signals every process of the user, faster than any of them forks.
        killer = os.fork()
        if killer == 0:
            try:
                _become(uid, uid)
                os.kill(-1, signal.SIGKILL)
            finally:
                os._exit(0)
        os.waitpid(killer, 0)
        time.sleep(0.002)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            continue  # all are reaped
    return True


def _has_processes(uid: int) -> bool:
    """Whether any process that still runs has the user as one of its four ids.

    A zombie does nothing any more, and whoever is to reap it may take long over that, or never do it. A
    process whose first thread alone has ended looks like one, but for its other threads.
    """
    for name in os.listdir("/proc"):  # noqa: PTH208
        if not name.isdecimal():
            continue
        try:
            with open(f"/proc/{name}/status", "rb") as status:  # noqa: PTH123
                said = dict(line.partition(b":")[::2] for line in status.read().splitlines())
        except OSError:
            continue  # it has just ended
        if str(uid).encode() not in said[b"Uid"].split():
            continue
        if said[b"State"].split()[0] not in {b"Z", b"X"} or int(said[b"Threads"]) > 1:
            return True
    return False


def sweep(uid: int, *more: str) -> None:
    """Remove a user's files from directories that every user can write to; some of `more` may be such.

    In others root has put what the user owns, as a lasting home.
    """
    for directory in (*SHARED_DIRECTORIES, *filter(_is_open, more)):
        try:
            with os.scandir(directory) as entries:
                own = [entry.path for entry in entries if _is_of(entry, uid)]
        except OSError:
            continue  # not on this system
        for path in own:
            _try(remove, path)


def _is_open(directory: str) -> bool:
    """Whether every user can write to a directory."""
    try:
        return bool(os.stat(directory).st_mode & stat.S_IWOTH)  # noqa: PTH116
    except OSError:
        return False


def _is_of(entry: os.DirEntry[str], uid: int) -> bool:
    """Whether a file is a user's; one that has gone meanwhile is nobody's."""
    try:
        return entry.stat(follow_symlinks=False).st_uid == uid
    except OSError:
        return False


def remove_shared(uid: int) -> None:
    """Remove the System V objects and the keys of a user, which the next program with its id could read.

    It is done as the user, since root of a container may not do it for others. Needs root.
    """
    remover = os.fork()
    if remover == 0:
        try:
            _become(uid, uid)
            libc = ctypes.CDLL(None)
            removals: dict[str, Callable[[int], object]] = {
                "shm": lambda number: libc.shmctl(number, IPC_RMID, None),
                "sem": lambda number: libc.semctl(number, 0, IPC_RMID),
                "msg": lambda number: libc.msgctl(number, IPC_RMID, None),
            }
            for kind, removal in removals.items():
                for number in _system_v_of(uid, kind):
                    removal(number)
            if (keyctl := KEYCTL.get(os.uname().machine)) is not None:
                kept = libc.syscall(keyctl, KEYCTL_GET_PERSISTENT, -1, KEYS_OF_PROCESS)
                for ring in (KEYS_OF_USER, KEYS_OF_USER_SESSION, kept):
                    libc.syscall(keyctl, KEYCTL_CLEAR, ring)
        finally:
            os._exit(0)
    os.waitpid(remover, 0)


def _become(uid: int, gid: int) -> None:
    """Give this process to a user."""
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def _system_v_of(uid: int, kind: str) -> list[int]:
    """Return the numbers of the System V objects of a kind that a user made or has."""
    try:
        with open(f"/proc/sysvipc/{kind}") as table:  # noqa: PTH123
            names, *rows = (line.split() for line in table)
    except OSError:
        return []  # this kernel has none
    owners = names.index("uid"), names.index("cuid")
    return [int(row[1]) for row in rows if str(uid) in {row[owner] for owner in owners}]


def main() -> None:
    if sys.argv[1] == "kill-user":
        uid = int(sys.argv[2])
        is_gone = kill_user(uid)
        sweep(uid, *sys.argv[3:])
        remove_shared(uid)
        sys.exit(not is_gone)
    link, order = map(int, sys.argv[1:])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _prctl(PR_SET_DUMPABLE, 0)
    os.set_inheritable(link, False)
    with open(order, "rb") as file:  # noqa: PTH123  # a descriptor
        options = json.load(file)
    options["link"] = link
    for descriptor in options["private"]:
        os.set_inheritable(descriptor, False)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    report = json.dumps(Shim(options).run())
    try:
        os.write(link, report.encode())
    except OSError:  # the worker died: nobody else cleans up
        _try(remove, options["workdir"])
        if options["group"] is not None:
            remove_group(options["group"])


if __name__ == "__main__":
    main()

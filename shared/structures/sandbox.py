"""Sandboxes of programs: which of them works on this machine, and which paths Python needs in it."""

import os
import pwd
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Final

from shared.settings import Settings
from shared.structures.groups import find_base

PROBE_TIMEOUT: Final = 10.0  # seconds of one probe
SEARCHABLE: Final = stat.S_IXOTH
NEW_MOUNTS: Final = 0x00020000  # CLONE_NEWNS

NAMESPACES: Final = (
    *("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
    *("--die-with-parent", "--new-session", "--cap-drop", "ALL"),
)
NO_MORE_NAMESPACES: Final = ("--disable-userns",)  # since bubblewrap 0.8

INSTALL: Final = "install bubblewrap on the worker, or set RUNYARD_STRUCTURE_SANDBOX=none to do without"

_UNSHARE: Final = f"import ctypes, sys; sys.exit(ctypes.CDLL(None).unshare({NEW_MOUNTS}) != 0)"


class Mode(StrEnum):
    """The kinds of sandboxes, the strongest first."""

    BUBBLEWRAP = "bubblewrap"  # namespaces of its own; as root, with a user id of its own, too
    USER = "user"  # a user id of its own
    NONE = "none"


DESCRIPTIONS: Final = {
    Mode.BUBBLEWRAP: "bubblewrap: own processes, files and user; the network is shared",
    Mode.USER: "a user id for each program; files that any user may read can be read",
    Mode.NONE: "nothing: a program may do whatever the worker's user may",
}


GROUPED: Final = "memory and processes by a control group"


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A sandbox that works on this machine."""

    mode: Mode
    bubblewrap: tuple[str, ...] = ()  # the command and its namespaces
    has_accounts: bool = False  # programs get users of their own: this is root
    can_mount: bool = False  # with root's right to have other file systems than the rest
    groups: Path | None = None  # where each program can have a control group


@dataclass(frozen=True, slots=True)
class Choice:
    """The sandbox of this machine, or the reason why there is none."""

    sandbox: Sandbox | None
    why_not: str = ""  # the failed trials, and a remedy

    @property
    def description(self) -> str:
        if self.sandbox is None:
            return self.why_not
        return f"{DESCRIPTIONS[self.sandbox.mode]}{'; ' + GROUPED if self.sandbox.groups else ''}"


def choose(settings: Settings) -> Choice:
    """The sandbox of the setting, or the strongest that works; no sandbox only if the setting says so.

    Each kind is tried once in a process.
    """
    return _choose(settings.structure_sandbox, settings.structure_uid, settings.structure_uids)


@lru_cache(maxsize=8)
def _choose(wanted: str, first_uid: int, uids: int) -> Choice:
    if wanted == Mode.NONE:
        return Choice(Sandbox(Mode.NONE, groups=find_base()))
    modes = (Mode.BUBBLEWRAP, Mode.USER) if wanted == "auto" else (Mode(wanted),)
    why_not = []
    for mode in modes:
        found = _bubblewrap(first_uid, uids) if mode is Mode.BUBBLEWRAP else _user(first_uid, uids)
        if isinstance(found, Sandbox):
            return Choice(replace(found, groups=find_base()))
        why_not.append(found)
    return Choice(None, f"Programs have no sandbox here: {'; '.join(why_not)}. To execute them, {INSTALL}.")


def _user(first_uid: int, uids: int) -> Sandbox | str:
    if os.geteuid() != 0:
        return "other users are only for a worker of root's to give"
    if taken := [user for user in pwd.getpwall() if first_uid <= user.pw_uid < first_uid + uids]:
        # Their processes would be killed, and their files removed, at the end of a program.
        return (
            f"{taken[0].pw_name} ({taken[0].pw_uid}) is among the users for programs (RUNYARD_STRUCTURE_UID)"
        )
    uid = first_uid + uids  # no program has it: the end of one kills all processes of its user
    if _said(["/bin/true"], uid=uid) is not None:
        return f"a program cannot become the user {uid}"
    can_mount = _said([sys.executable, "-I", "-S", "-c", _UNSHARE]) is None
    if not can_mount and (closed := closed_above(python_paths())):
        return f"no other user can reach Python below {closed[0]}"
    return Sandbox(Mode.USER, has_accounts=True, can_mount=can_mount)


def _bubblewrap(first_uid: int, uids: int) -> Sandbox | str:
    command = shutil.which("bwrap")
    if command is None:
        return "bubblewrap is not installed"
    user = _user(first_uid, uids) if os.geteuid() == 0 else None
    if isinstance(user, str):
        return f"bubblewrap as root needs users to give, and {user}"
    rest = ("--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "/bin/true")  # noqa: S108  # its own
    said: str | None = ""
    for namespaces in ((*NAMESPACES, *NO_MORE_NAMESPACES), NAMESPACES):
        said = _said([command, *namespaces, *rest], uid=None if user is None else first_uid + uids)
        if said is None:
            is_root = user is not None
            return Sandbox(
                Mode.BUBBLEWRAP,
                (command, *namespaces),
                is_root,
                can_mount=user is not None and user.can_mount,
            )
    return f"user namespaces are not allowed here (bubblewrap: {said})"


def _said(command: Sequence[str], *, uid: int | None = None) -> str | None:
    """The error of a command, run as another user if `uid` is given; None if it succeeds."""
    try:
        ended = subprocess.run(  # noqa: S603  # our own commands
            command,
            user=uid,
            group=uid,
            extra_groups=None if uid is None else [],
            env={"PATH": os.defpath},
            cwd="/",
            capture_output=True,
            timeout=PROBE_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return str(error)
    if ended.returncode == 0:
        return None
    lines = ended.stderr.decode(errors="replace").splitlines()
    return lines[-1] if lines else f"exit code {ended.returncode}"


def python_paths() -> Sequence[Path]:
    """The paths that this Python needs to work and to import its modules, and no other files.

    Of a directory with further files, such as a project, only the modules and packages.
    """
    return _python_paths((*sys.path, *os.environ.get("PYTHONPATH", "").split(os.pathsep)))


@lru_cache(maxsize=8)
def _python_paths(listed: Sequence[str]) -> Sequence[Path]:
    roots = {Path(prefix) for prefix in (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix)}
    # The installations that the symbolic links of the interpreter lead through, without `bin`.
    executable = Path(sys.executable)
    while executable.is_symlink():
        executable = executable.parent / executable.readlink()
        roots |= {executable.parent.parent} - {Path("/")}
    entries = {Path(entry).absolute() for entry in listed if entry}
    own = [entry for entry in entries if not any(entry.is_relative_to(root) for root in roots)]
    modules = {path for entry in own for path in _modules(entry)}
    return tuple(sorted(path for path in roots | modules if path.exists()))


def _modules(entry: Path) -> Iterable[Path]:
    if entry.is_file():
        return [entry]
    try:
        return [path for path in entry.iterdir() if not path.name.startswith(".") and _is_module(path)]
    except OSError:
        return []


def _is_module(path: Path) -> bool:
    try:
        return path.suffix in {".py", ".so"} if path.is_file() else any(path.glob("*.py"))
    except OSError:
        return False


def closed_above(paths: Iterable[Path]) -> list[Path]:
    """The directories through which other users cannot reach some paths, the topmost of each path."""
    closed = set()
    for path in paths:
        above = [*reversed(path.parents), path] if path.is_dir() else [*reversed(path.parents)]
        for directory in above:
            if not directory.stat().st_mode & SEARCHABLE:
                closed.add(directory)
                break
    return sorted(closed)

"""Control groups of Linux (cgroup v2): one for each program, where this process may create them."""

import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from os import getpid, getxattr
from pathlib import Path
from typing import Final, Self

import structlog

CONTROLLERS: Final = frozenset({"memory", "pids"})
DELEGATED: Final = ("user.delegate", "trusted.delegate")
"""Extended attributes with which systemd marks a delegated group."""

REMOVAL_TIMEOUT: Final = 10.0  # seconds for the processes of a group to die
REMOVAL_INTERVAL: Final = 0.01  # seconds between two attempts to remove a group

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Group:
    """The control group of one program: limits its processes, and kills them together."""

    path: Path

    @classmethod
    def make(cls, base: Path, name: str, *, memory: int, processes: int) -> Self:
        """Create a group whose processes together have at most `memory` bytes and are at most `processes`.

        Raises:
            OSError: the kernel refuses.
        """
        group = cls(base / f"runyard-{name.replace('/', '-')}")
        group.path.mkdir()
        try:
            _write(group.path / "memory.max", memory)
            _write(group.path / "pids.max", processes)
            for file, value in (("memory.swap.max", 0), ("memory.oom.group", 1)):
                with suppress(FileNotFoundError):  # a kernel without
                    _write(group.path / file, value)
        except OSError:
            group.path.rmdir()
            raise
        return group

    def take(self, pid: int) -> None:
        """Move a process into the group; its later children start in it."""
        _write(self.path / "cgroup.procs", pid)

    def ran_out_of_memory(self) -> bool:
        """Whether the kernel has killed a process of the group for its memory."""
        events = (self.path / "memory.events").read_text(encoding="ascii").split()
        return int(events[events.index("oom_kill") + 1]) > 0

    def end(self) -> None:
        """Kill all processes of the group, and remove it; log a group that cannot be removed."""
        deadline = time.monotonic() + REMOVAL_TIMEOUT
        while True:
            try:
                _write(self.path / "cgroup.kill", 1)
                self.path.rmdir()
            except FileNotFoundError:
                return
            except OSError as error:
                if time.monotonic() > deadline:
                    log.warning("control group not removed", group=str(self.path), cause=str(error))
                    return
                time.sleep(REMOVAL_INTERVAL)
            else:
                return


@contextmanager
def lent_group(base: Path | None, name: str, *, memory: int, processes: int) -> Generator[Group | None]:
    """Create a group for the block, or None without a `base`; no process in it outlives the block.

    Raises:
        OSError: the kernel refuses another group.
    """
    if base is None:
        yield None
        return
    group = Group.make(base, name, memory=memory, processes=processes)
    try:
        yield group
    finally:
        group.end()


@lru_cache(maxsize=1)
def find_base() -> Path | None:
    """The group under which this process can create groups that limit and kill, as a trial shows; or None."""
    return next(filter(_works, _candidates(Path("/proc/self"))), None)


def _candidates(process: Path) -> list[Path]:
    """The group of a process, and its parent group if that is the root or delegated."""
    try:
        mounts = [line.split() for line in (process / "mountinfo").read_text("utf-8").splitlines()]
        lines = (process / "cgroup").read_text("utf-8").splitlines()
    except OSError:
        return []
    tops = [Path(fields[4]) for fields in mounts if fields[fields.index("-") + 1] == "cgroup2"]
    names = [line.removeprefix("0::/") for line in lines if line.startswith("0::/")]
    if not (tops and names):
        return []
    top, own = tops[0], tops[0] / names[0]
    above = [own.parent] if own != top and (own.parent == top or _is_delegated(own.parent)) else []
    return [own, *above]


def _is_delegated(path: Path) -> bool:
    for name in DELEGATED:
        with suppress(OSError):
            return getxattr(path, name) == b"1"
    return False


def _works(base: Path) -> bool:
    """Whether a group can be created here, have limits, take a process, and kill it."""
    try:
        if not CONTROLLERS.issubset((base / "cgroup.controllers").read_text(encoding="ascii").split()):
            return False
        _write(base / "cgroup.subtree_control", " ".join(f"+{name}" for name in sorted(CONTROLLERS)))
        with (
            lent_group(base, f"trial-{getpid()}", memory=1 << 26, processes=10) as group,
            subprocess.Popen(["/bin/sleep", str(REMOVAL_TIMEOUT)]) as trial,  # noqa: S603  # our own command
        ):
            assert group is not None  # noqa: S101  # there is a base
            group.take(trial.pid)
            group.end()
            return trial.wait() < 0
    except (OSError, subprocess.SubprocessError):
        return False


def _write(path: Path, value: object) -> None:
    """Write into an existing file of the kernel."""
    with path.open("r+b", buffering=0) as file:
        file.write(str(value).encode())

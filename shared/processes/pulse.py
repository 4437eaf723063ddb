"""Pulses: what a server process shows of its life, in a file that `runyard health` reads.

The file is mapped into memory and locked. A store is no system call, so it can neither block nor fail, also
while a disk or a server hangs. The kernel frees the lock when the process ends, however it ends: no process
id is trusted. Times are those of the monotonic clock, which all processes of a machine share.
"""

import fcntl
import mmap
import os
import stat
import tempfile
import threading
import time
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import IntEnum, StrEnum
from json import dumps, loads
from pathlib import Path
from typing import Any, Final

DIRECTORY: Final = "RUNYARD_HEALTH_DIR"
"""The variable of the directory. `runyard health` reads it without the other settings, to be fast."""

SUFFIX: Final = ".pulse"
HEAD: Final = 2048  # bytes of JSON before the facts, or a multiple for many queues
FACTS: Final = 2048  # bytes of facts, at the end of the file
LIFE_INTERVAL: Final = 1.0  # seconds


class Kind(StrEnum):
    """What `runyard health` is asked about."""

    API = "api"
    WORKER = "worker"
    RECONCILER = "reconciler"
    FLOWER = "flower"


class Part(StrEnum):
    """The part that a process plays."""

    SUPERVISOR = "supervisor"
    PROCESS = "process"


class Fact(IntEnum):
    """A number in the file. Times are monotonic seconds; 0 stands for never."""

    CREATED = 0  # when the process opened its pulse
    ALIVE = 1  # when a thread of its own last ran
    TURN = 2  # when its main loop last turned
    INTAKE = 3  # when its consumer last heard from its queues, or tried to reach the broker
    ROOM = 4  # since when it has had a free slot; 0 while it has none
    SLOTS = 5  # their number; 0 if it takes nothing, as in a drain
    BUSY = 6  # slots with a run
    MISSING = 7  # of a supervisor: since when it has lacked a process


@dataclass(frozen=True, slots=True)
class Limits:
    """How old a time may be, in seconds; None if the process does not keep it."""

    turn: float
    alive: float | None = None
    intake: float | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """The pulse of another process, at one moment."""

    kind: Kind
    part: Part
    name: str
    pid: int
    queues: tuple[str, ...]
    limits: Limits
    facts: tuple[float, ...]

    def __getitem__(self, fact: Fact) -> float:
        return self.facts[fact]


class Pulse:
    """The pulse of this process. One without a file keeps its numbers to itself."""

    def __init__(self, mapping: mmap.mmap, path: Path | None = None) -> None:
        self._facts = memoryview(mapping)[-FACTS:].cast("d")
        self._path = path
        self._owner = os.getpid()

    @classmethod
    def unseen(cls) -> "Pulse":
        """A pulse without a file."""
        return cls(mmap.mmap(-1, FACTS))

    @classmethod
    def open(
        cls, kind: Kind, name: str, limits: Limits, *, part: Part = Part.PROCESS, queues: Iterable[str] = ()
    ) -> "Pulse":
        """Make the file of this process, and remove those of dead ones.

        Args:
            name: what the process is called, for people.
            queues: the keys of the Redis lists that it takes runs from.

        Raises:
            OSError: the directory or the file cannot be made, or other users can write to it.
        """
        directory = own_directory(health_directory(os.environ))
        for path in directory.glob(f"*{SUFFIX}"):
            _remove_if_dead(path)
        about = {"kind": kind, "part": part, "name": name, "pid": os.getpid(), "queues": list(queues)}
        head = dumps({**about, "limits": asdict(limits)}).encode()
        head = head.ljust(-(-len(head) // HEAD) * HEAD)
        path = directory / f"{kind}-{os.getpid()}-{uuid.uuid4().hex[:8]}{SUFFIX}"
        hidden = path.with_suffix(".new")  # nobody takes it for dead before it is locked
        descriptor = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # the descriptor stays open as long as the process
        try:
            os.posix_fallocate(descriptor, 0, len(head) + FACTS)  # a store finds room later, too
        except OSError:
            os.close(descriptor)
            hidden.unlink()
            raise
        os.write(descriptor, head)
        pulse = cls(mmap.mmap(descriptor, len(head) + FACTS), path)
        pulse.beat(Fact.CREATED)
        hidden.rename(path)
        return pulse

    def beat(self, *facts: Fact) -> None:
        """Set times to now."""
        now = time.monotonic()
        for fact in facts:
            self._facts[fact] = now

    def __setitem__(self, fact: Fact, value: float) -> None:
        self._facts[fact] = value

    def __getitem__(self, fact: Fact) -> float:
        return self._facts[fact]

    def turn(self, *, lacks_process: bool) -> None:
        """Note a turn of a supervisor, and whether one of its processes is missing."""
        self.beat(Fact.TURN)
        if not lacks_process:
            self[Fact.MISSING] = 0
        elif not self[Fact.MISSING]:
            self.beat(Fact.MISSING)

    def show_life(self) -> None:
        """Beat ALIVE from now on, in a thread of its own."""

        def beat() -> None:
            while True:
                self.beat(Fact.ALIVE)
                time.sleep(LIFE_INTERVAL)

        threading.Thread(target=beat, name="life", daemon=True).start()

    def close(self) -> None:
        """Remove the file; a forked child leaves that of its parent alone."""
        if self._path is not None and self._owner == os.getpid():
            with suppress(OSError):
                self._path.unlink(missing_ok=True)


def health_directory(environment: Mapping[str, str]) -> Path:
    """The directory of pulses: that of the variable, else one of this user among temporary files."""
    given = environment.get(DIRECTORY)
    return Path(given) if given else Path(tempfile.gettempdir()) / f"runyard-{os.geteuid()}"


def own_directory(path: Path) -> Path:
    """Make a directory (0700) unless it is there; return it.

    Raises:
        OSError: it cannot be made, or is not this user's alone.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    state = path.lstat()
    is_ours = stat.S_ISDIR(state.st_mode) and state.st_uid == os.geteuid()
    if not is_ours or state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(f"{path} is not a directory that only this user can write to")
    return path


def read_pulses(directory: Path, kind: Kind) -> list[Reading]:
    """Read the pulses of the living processes of a kind, by name; none if there is no directory.

    Raises:
        OSError: the directory cannot be read, or other users can write to it.
    """
    if not directory.exists():
        return []
    paths = own_directory(directory).glob(f"{kind}-*{SUFFIX}")
    readings = [reading for path in paths if (reading := _read(path)) is not None]
    return sorted(readings, key=lambda reading: (reading.part != Part.SUPERVISOR, reading.name))


def _read(path: Path) -> Reading | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:  # it has just ended
        return None
    try:
        if _is_dead(descriptor):
            return None
        content = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    finally:
        os.close(descriptor)
    about: dict[str, Any] = loads(content[:-FACTS])
    facts = memoryview(content[-FACTS:]).cast("d").tolist()
    return Reading(
        kind=Kind(about["kind"]),
        part=Part(about["part"]),
        name=about["name"],
        pid=about["pid"],
        queues=tuple(about["queues"]),
        limits=Limits(**about["limits"]),
        facts=tuple(facts[: len(Fact)]),
    )


def _is_dead(descriptor: int) -> bool:
    """Whether no process holds the lock of a file."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_if_dead(path: Path) -> None:
    with suppress(OSError):  # another process was faster
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if _is_dead(descriptor):
                path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)

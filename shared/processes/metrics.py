"""The metrics of a process, or of several that have one exporter: their files, and what a scrape reads."""

import fcntl
import os
import re
import shutil
import struct
import tempfile
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Protocol, Self

import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import InfoMetricFamily, Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from shared.metrics import instruments
from shared.metrics.numbers import allocate
from shared.processes.owned_directories import OwnedDirectory, remove_orphans

PREFIX: Final = "runyard-counts-"
"""Earlier processes made `runyard-metrics-…`, and locked a file in it: they may live on during an upgrade."""

LOCK: Final = "lock"

MEMORY: Final = Path("/dev/shm")  # noqa: S108  # the directory made in it is this user's alone
ROOM: Final = 32 * 1_048_576  # bytes

BURIED: Final = 0
"""The process id under which the files of dead processes are added up. No process has it."""

_FILE: Final = re.compile(r"(?P<kind>counter|histogram|gauge_[a-z]+)_(?P<pid>\d+)\.db")

log = structlog.get_logger(__name__)


class Source(Protocol):
    """What an exporter shows."""

    def render(self) -> bytes:
        """Return everything in Prometheus' text format."""
        ...

    def tidy(self) -> None:
        """Do what is due from time to time, also if nobody scrapes."""
        ...


class OwnMetrics:
    """The metrics of this process alone."""

    def __init__(self, *more: Collector) -> None:
        """Begin to count.

        Args:
            more: collectors whose metrics are shown beside the instruments.
        """
        self._registry = instruments.start()
        for collector in (Build(), *more):
            self._registry.register(collector)

    def render(self) -> bytes:
        return generate_latest(self._registry)

    def tidy(self) -> None:
        """There is nothing to tidy."""


class SharedMetrics:
    """The metrics of several processes, which write files into one directory of this user's alone.

    The files of a process that has died are added to those of the dead, and deleted: counters do not fall,
    and the directory holds files of living processes and one of each kind for all others. Its gauges vanish
    with it. A lock keeps a scrape away from files that are being moved; nobody waits for it but a scrape.
    """

    def __init__(self, owned: OwnedDirectory) -> None:
        self.directory = owned.path
        self._owned = owned

    @classmethod
    def make(cls, parent: Path | None = None) -> Self:
        """Make the directory, and remove those of owners that were killed.

        Args:
            parent: where to make it; by default in memory, if there is such a file system. On a disk, a
                process that counts would wait for the disk, with its interpreter, whenever a page is written.

        Raises:
            OSError: there is no room for it.
        """
        parent = parent or _roomy_memory() or Path(tempfile.gettempdir())
        remove_orphans(parent, PREFIX)
        return cls(OwnedDirectory.make(parent, PREFIX))

    def close(self) -> None:
        """Remove the directory. The processes that write into it have ended."""
        shutil.rmtree(self.directory, ignore_errors=True)
        self._owned.let_go()

    def render(self) -> bytes:
        registry = CollectorRegistry()
        registry.register(Build())
        registry.register(self)
        self.bury()
        return generate_latest(registry)

    def tidy(self) -> None:
        """Bury the dead. A full disk is logged, and harms nobody."""
        try:
            self.bury()
        except OSError as error:
            log.warning("metrics not tidied", error=str(error))

    def describe(self) -> Iterable[Metric]:
        """Say nothing of what `collect` yields: it depends on the files."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Read all files, for a registry."""
        with self._locked(fcntl.LOCK_SH):
            paths = [os.fspath(path) for path in self.directory.iterdir() if _FILE.fullmatch(path.name)]
            found: Iterable[Metric] = MultiProcessCollector.merge(paths)  # type: ignore[no-untyped-call]
            return list(found)

    def bury(self) -> None:
        """Add the files of processes that have died to those of the dead.

        A file that cannot be read, because its process died while it wrote, is deleted and logged. If
        somebody else reads or buries just now, that is left to the next time: supervisors must not wait.
        """
        if not self._dead():
            return
        with suppress(BlockingIOError), self._locked(fcntl.LOCK_EX | fcntl.LOCK_NB):
            for path, kind in self._dead():
                try:
                    if not kind.startswith("gauge"):
                        self._add(path, kind)
                except (OSError, ValueError, RuntimeError, struct.error) as error:
                    log.warning("metrics of a dead process lost", file=path.name, error=str(error))
                path.unlink(missing_ok=True)

    def _dead(self) -> list[tuple[Path, str]]:
        """The files of processes that have died, each with its kind."""
        found = [(path, match) for path in self.directory.iterdir() if (match := _FILE.fullmatch(path.name))]
        return [(path, match["kind"]) for path, match in found if not _lives(int(match["pid"]))]

    def _add(self, path: Path, kind: str) -> None:
        numbers = list(MmapedDict.read_all_values_from_file(path))  # type: ignore[no-untyped-call]
        sum_path = self.directory / f"{kind}_{BURIED}.db"
        allocate(sum_path, path.stat().st_size)
        total: Any = MmapedDict(os.fspath(sum_path))  # type: ignore[no-untyped-call]
        try:
            for key, value, _, _ in numbers:
                if value:
                    before, _ = total.read_value(key)
                    total.write_value(key, before + value, 0.0)
        finally:
            total.close()

    @contextmanager
    def _locked(self, how: int) -> Generator[None]:
        with (self.directory / LOCK).open("a") as file:
            fcntl.flock(file, how)
            yield


def count_into(directory: Path) -> None:
    """Begin to count in this process, for the exporter that reads a directory; without room, do not."""
    try:
        instruments.start(directory)
    except OSError as error:
        instruments.stop()
        log.warning("nothing is measured in this process", error=str(error))


class Build:
    """The release, as `runyard_build_info`."""

    def describe(self) -> Iterable[Metric]:
        return self.collect()

    def collect(self) -> Iterable[Metric]:
        return [InfoMetricFamily("runyard_build", "The release.", {"version": version("runyard")})]


def _roomy_memory() -> Path | None:
    """The file system in memory, if this user may write there and it has room for some processes."""
    if not (MEMORY.is_dir() and os.access(MEMORY, os.W_OK | os.X_OK)):
        return None
    found = os.statvfs(MEMORY)
    return MEMORY if found.f_bavail * found.f_frsize >= ROOM else None


def _lives(pid: int) -> bool:
    if pid == BURIED:
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):  # another user's has only the number of ours
        return False
    return True

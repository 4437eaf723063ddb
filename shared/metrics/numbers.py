"""Where a process keeps the numbers of its instruments: in memory, or in files that an exporter adds up.

Both are rows of doubles, so that counting is an addition. The files have the format of prometheus-client's
multiprocess mode, whose reader adds them up. They have their whole size from the start: a disk that fills up
later cannot kill a process that writes into its memory map.
"""

import mmap
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol, TypeAlias

from prometheus_client.mmap_dict import MmapedDict

ENTRY_BYTES: Final = 384
"""Bytes of one number in a file: its key, which quotes the description, and its value. Keys are shorter."""

_DOUBLE: Final = 8  # bytes
_VALUE: Final = 16  # bytes from the value of an entry to its end
_USED: Final = struct.Struct("i")  # bytes of a file that have entries, at its beginning

Row: TypeAlias = "list[float] | memoryview[float]"


class Cells(NamedTuple):
    """Some numbers: where each of them is in a row."""

    row: Row
    places: Sequence[int]


class Numbers(Protocol):
    """The numbers of one process."""

    def cells(self, kind: str, keys: Sequence[str]) -> Cells:
        """Return numbers, each at zero if it is new.

        Args:
            kind: of their instrument: the beginning of a file's name.
            keys: their names, as `prometheus_client.mmap_dict.mmap_key` makes them.
        """
        ...

    def close(self) -> None:
        """Leave the numbers as they are. Nobody has cells of them any more."""
        ...


class InMemory:
    """Numbers that only this process reads."""

    def __init__(self) -> None:
        self._row: list[float] = []

    def cells(self, kind: str, keys: Sequence[str]) -> Cells:
        del kind
        first = len(self._row)
        self._row += [0.0] * len(keys)
        return Cells(self._row, range(first, len(self._row)))

    def close(self) -> None:
        """There is nothing to leave."""


class InFiles:
    """Numbers in files of one directory, one file a kind."""

    def __init__(self, directory: Path, sizes: dict[str, int]) -> None:
        """Make the files of this process.

        Args:
            directory: where to make them.
            sizes: the bytes of each kind.

        Raises:
            OSError: there is no room for them.
        """
        self._files = {
            kind: _File(directory / f"{kind}_{os.getpid()}.db", size) for kind, size in sizes.items()
        }

    def cells(self, kind: str, keys: Sequence[str]) -> Cells:
        file = self._files[kind]
        return Cells(file.row, tuple(map(file.place, keys)))

    def close(self) -> None:
        for file in self._files.values():
            file.close()


class _File:
    """The numbers of one kind. A file that is there is one of an earlier process with this id: it goes on."""

    def __init__(self, path: Path, size: int) -> None:
        allocate(path, size)
        known = MmapedDict.read_all_values_from_file(path)  # type: ignore[no-untyped-call]
        self._places: dict[str, int] = {key: position // _DOUBLE for key, _, _, position in known}
        self._entries = MmapedDict(os.fspath(path))  # type: ignore[no-untyped-call]
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)
        self.row = memoryview(self._memory).cast("d")

    def place(self, key: str) -> int:
        """Where in the row a number is; a new one is the last entry of the file."""
        if key not in self._places:
            self._entries.read_value(key)  # type: ignore[no-untyped-call]  # which makes it
            (used,) = _USED.unpack_from(self._memory)
            self._places[key] = (used - _VALUE) // _DOUBLE
        return self._places[key]

    def close(self) -> None:
        self.row.release()
        self._memory.close()
        self._entries.close()  # type: ignore[no-untyped-call]


def allocate(path: Path, size: int) -> None:
    """Make a file of zeros whose blocks are there, unless it is there; nobody sees it while it grows.

    Raises:
        OSError: there is no room for it.
    """
    if not path.exists():
        growing = path.with_suffix(".new")
        growing.write_bytes(bytes(size))
        growing.replace(path)

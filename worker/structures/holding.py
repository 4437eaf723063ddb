"""What stands between a program and the machine, as the warden is told of it."""

import os
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from shared.structures.sandbox import Mode, Sandbox, closed_above, python_paths
from worker.structures.accounts import Account, give, lent_account
from worker.structures.homes import Home, LentHome

LAUNCH: Final = Path(__file__).with_name("launch.py")

SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store")
CONFIGURATION: Final = (
    *("alternatives", "ca-certificates", "ca-certificates.conf", "gai.conf", "group", "host.conf", "hosts"),
    *(
        "ld.so.cache",
        "ld.so.conf",
        "ld.so.conf.d",
        "locale.alias",
        "localtime",
        "mime.types",
        "nsswitch.conf",
    ),
    *("passwd", "pki", "protocols", "resolv.conf", "services", "ssl", "terminfo", "timezone"),
)
"""What of /etc a program sees: names, time, trust, libraries."""

BUBBLEWRAP_LAYERS: Final = 2  # one that waits outside, one that is process 1 inside


@dataclass(frozen=True, slots=True)
class Holder:
    """Holds programs in a sandbox, each alone."""

    sandbox: Sandbox
    first_uid: int = 0
    uids: int = 0
    paths: tuple[Path, ...] = ()  # of the operator's, to read
    memory: int = 1 << 30  # bytes that files in memory may have
    home: Home | None = None  # that stays

    @contextmanager
    def hold(self, place: Path) -> Generator["Hold"]:
        """Make a directory the own of a program's user, if it gets one.

        Raises:
            PlatformError: there is none left.
            InvalidConfigurationError: there is to be a home that stays, and its directory cannot be used.
        """
        with self._account() as account, self._home(account) as home:
            if account is not None:
                give(account, place)
            yield Hold(self, place, account, home)

    def _account(self) -> AbstractContextManager[Account | None]:
        return lent_account(self.first_uid, self.uids) if self.sandbox.has_accounts else nullcontext()

    def _home(self, account: Account | None) -> AbstractContextManager[LentHome | None]:
        return nullcontext() if self.home is None else self.home.lent(account)


@dataclass(frozen=True, slots=True)
class Hold:
    """The sandbox of one program."""

    holder: Holder
    place: Path
    account: Account | None
    home: LentHome | None = None

    @property
    def private(self) -> list[int]:
        """Descriptors that keep what is lent from others: the warden's to have, not the program's."""
        descriptors = (
            None if self.account is None else self.account.descriptor,
            None if self.home is None else self.home.descriptor,
        )
        return [descriptor for descriptor in descriptors if descriptor is not None]

    @property
    def variables(self) -> Mapping[str, str]:
        """What the program's variables say of its home, if that stays."""
        return {} if self.home is None else {"HOME": str(self.home.path)}

    @property
    def packages(self) -> str | None:
        """Where a home that stays has packages, as `pip install --user` would place them."""
        if self.home is None:
            return None
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        return str(self.home.path / ".local" / "lib" / version / "site-packages")

    def command(self, order: int, cwd: Path) -> list[str]:
        """What to execute; `{tell}` in it is the descriptor in which a program tells that it began."""
        # -I: neither variables nor folders lend it modules.
        program = [sys.executable, "-I", "-u", str(LAUNCH), str(order), "{tell}"]
        if self.holder.sandbox.mode is not Mode.BUBBLEWRAP:
            return program
        return [*self.holder.sandbox.bubblewrap, *self._file_system(), "--chdir", str(cwd), "--", *program]

    def options(self) -> Mapping[str, Any]:
        """What the warden has to do before it executes the command."""
        account = self.account
        covers, shown = self._revealed()
        return {
            "account": None if account is None else [account.uid, account.uid],
            "private": self.private,
            "covers": covers,
            "shown": shown,
            "layers": BUBBLEWRAP_LAYERS if self.holder.sandbox.mode is Mode.BUBBLEWRAP else 0,
        }

    def _shown(self) -> Sequence[Path]:
        return [path for path in (*python_paths(), *self.holder.paths) if path.exists()]

    def _revealed(self) -> tuple[list[str], list[list[Any]]]:
        """The directories that keep the program's user from what it needs, and what it needs of them."""
        if self.account is None or not self.holder.sandbox.can_mount:
            return [], []
        own = [self.place] if self.home is None else [self.place, self.home.path]
        needed = [(path, False) for path in self._needed()] + [(path, True) for path in own]
        covers = closed_above([path for path, is_own in needed if not is_own] + [path.parent for path in own])
        below = [
            [str(path), is_writable]
            for path, is_writable in needed
            if any(path.is_relative_to(cover) for cover in covers)
        ]
        return [str(cover) for cover in covers], below

    def _needed(self) -> Sequence[Path]:
        """What is shown, and where links in it lead."""
        return sorted({path for shown in self._shown() for path in (shown, shown.resolve())})

    def _file_system(self) -> list[str]:
        """A file system of the system's and Python's files, to read, and the program's own directory."""
        own = self.place / "tmp"
        size = str(self.holder.memory)
        return [
            *(word for name in SYSTEM for word in _system(Path(name))),
            *(word for name in CONFIGURATION for word in _readable(Path("/etc") / name)),
            *("--proc", "/proc", "--dev", "/dev", "--size", size, "--tmpfs", "/dev/shm"),  # noqa: S108  # its own
            *("--dir", "/run", "--bind", str(own), "/tmp", "--symlink", "/tmp", "/var/tmp"),  # noqa: S108
            *(word for path in self._shown() for word in _readable(path)),
            *("--bind", str(self.place), str(self.place)),
            *(() if self.home is None else ("--bind", str(self.home.path), str(self.home.path))),
            *("--remount-ro", "/dev", "--remount-ro", "/", "--hostname", "program"),
        ]


def _system(path: Path) -> list[str]:
    if path.is_symlink():
        return ["--symlink", os.readlink(path), str(path)]  # noqa: PTH115  # as it stands
    return _readable(path)


def _readable(path: Path) -> list[str]:
    return ["--ro-bind", str(path), str(path)] if path.exists() else []

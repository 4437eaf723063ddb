"""The sandbox of a program: command, mounts, user id and home, as options of the shim."""

import os
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from shared.structures.sandbox import Mode, Sandbox, closed_above, python_paths
from worker.cancellation import CancelToken
from worker.executors.program.accounts import Account, give, hold_entries, lent_account
from worker.executors.program.homes import Home, LentHome

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
"""The files of /etc that a program sees: names, time, certificates, libraries."""

BUBBLEWRAP_LAYERS: Final = 2  # one process outside, one as process 1 inside


@dataclass(frozen=True, slots=True)
class Holder:
    """Puts each program in a sandbox of its own."""

    sandbox: Sandbox
    first_uid: int = 0
    uids: int = 0
    paths: tuple[Path, ...] = ()  # the operator's, read-only
    memory: int = 1 << 30  # bytes of files in memory
    home: Home | None = None  # the lasting one

    @contextmanager
    def hold(self, workdir: Path, token: CancelToken) -> Generator["Hold"]:
        """Lend the program a user id and its home, and give it the directory; wait for a free user id.

        Raises:
            RunStopped: the token fired before.
            PlatformError: there can be no user ids.
            InvalidConfigurationError: the directory of lasting homes cannot be used, or other users could
                move that of the program.
        """
        with ExitStack() as lent:
            account = home = None
            if self.sandbox.has_accounts:
                account = lent.enter_context(lent_account(self.first_uid, self.uids, token))
            if self.home is not None:
                home = lent.enter_context(self.home.lent(account))
            if account is not None:
                hold_entries(workdir.parent)
                give(account, workdir)
            yield Hold(self, workdir, account, home)


@dataclass(frozen=True, slots=True)
class Hold:
    """The sandbox of one program."""

    holder: Holder
    workdir: Path
    account: Account | None
    home: LentHome | None = None

    @property
    def private(self) -> list[int]:
        """The descriptors that hold the locks: the shim inherits them, the program does not."""
        descriptors = (
            None if self.account is None else self.account.descriptor,
            None if self.home is None else self.home.descriptor,
        )
        return [descriptor for descriptor in descriptors if descriptor is not None]

    @property
    def variables(self) -> Mapping[str, str]:
        """The program's variables about its lasting home."""
        return {} if self.home is None else {"HOME": str(self.home.path)}

    @property
    def packages(self) -> str | None:
        """The directory of packages in a lasting home, where `pip install --user` puts them."""
        if self.home is None:
            return None
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        return str(self.home.path / ".local" / "lib" / version / "site-packages")

    def command(self, order: int, cwd: Path) -> list[str]:
        """Return the command; `{tell}` in it stands for the descriptor of the start report."""
        # -I: no modules from variables or the current folder.
        program = [sys.executable, "-I", "-u", str(LAUNCH), str(order), "{tell}"]
        if self.holder.sandbox.mode is not Mode.BUBBLEWRAP:
            return program
        own = self.workdir / "tmp"
        size = str(self.holder.memory)
        mounts = [  # system and Python read-only, the program's own directory writable
            *(word for name in SYSTEM for word in _system(Path(name))),
            *(word for name in CONFIGURATION for word in _readable(Path("/etc") / name)),
            *("--proc", "/proc", "--dev", "/dev", "--size", size, "--tmpfs", "/dev/shm"),  # noqa: S108  # its own
            *("--dir", "/run", "--bind", str(own), "/tmp", "--symlink", "/tmp", "/var/tmp"),  # noqa: S108
            *(word for path in self._shown() for word in _readable(path)),
            *("--bind", str(self.workdir), str(self.workdir)),
            *(() if self.home is None else ("--bind", str(self.home.path), str(self.home.path))),
            *("--remount-ro", "/dev", "--remount-ro", "/", "--hostname", "program"),
        ]
        return [*self.holder.sandbox.bubblewrap, *mounts, "--chdir", str(cwd), "--", *program]

    def options(self) -> Mapping[str, Any]:
        """Return the options of the shim."""
        account = self.account
        covers: Sequence[Path] = ()  # directories that the program's user cannot enter
        shown: list[list[Any]] = []  # the paths below them that it needs, and whether it may write there
        if account is not None and self.holder.sandbox.can_mount:
            own = [self.workdir] if self.home is None else [self.workdir, self.home.path]
            targets = {path for each in self._shown() for path in (each, each.resolve())}
            needed = [(path, False) for path in sorted(targets)] + [(path, True) for path in own]
            covers = closed_above([*sorted(targets), *(path.parent for path in own)])
            shown = [
                [str(path), is_writable]
                for path, is_writable in needed
                if any(path.is_relative_to(cover) for cover in covers)
            ]
        return {
            "account": None if account is None else [account.uid, account.uid],
            "private": self.private,
            "covers": [str(cover) for cover in covers],
            "shown": shown,
            "layers": BUBBLEWRAP_LAYERS if self.holder.sandbox.mode is Mode.BUBBLEWRAP else 0,
        }

    def _shown(self) -> Sequence[Path]:
        return [path for path in (*python_paths(), *self.holder.paths) if path.exists()]


def _system(path: Path) -> list[str]:
    if path.is_symlink():
        return ["--symlink", os.readlink(path), str(path)]  # noqa: PTH115  # unresolved
    return _readable(path)


def _readable(path: Path) -> list[str]:
    return ["--ro-bind", str(path), str(path)] if path.exists() else []

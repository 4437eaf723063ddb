"""The account PostgreSQL runs as, since it refuses to run as root."""

import os
import pwd
from pathlib import Path
from typing import Final

from shared.errors import RunyardError
from shared.processes.child import Account

UNPRIVILEGED: Final = "nobody"


class NoUnprivilegedAccountError(RunyardError):
    """PostgreSQL does not run as root, and there is no user `nobody` to run it as."""


def account_for(directory: Path) -> Account | None:
    """Whom to run as on a data directory: its owner, else `nobody`; None if we are not root.

    Raises:
        NoUnprivilegedAccountError: we are root, and there is no `nobody`.
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
    """PostgreSQL does not start as a user without a name."""

    def __init__(self, uid: int) -> None:
        super().__init__(
            f"PostgreSQL does not start as a user without a name, and {uid} has none: give it a line in"
            " /etc/passwd, or set RUNYARD_DATABASE_URL to a PostgreSQL that is there."
        )


def demand_name(account: Account | None) -> None:
    """Return if whom a server runs as has a name, without which PostgreSQL makes no cluster.

    Raises:
        NamelessAccountError: it has none.
    """
    uid = os.geteuid() if account is None else account.uid
    try:
        pwd.getpwuid(uid)
    except KeyError:
        raise NamelessAccountError(uid) from None

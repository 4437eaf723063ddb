"""Become another program, as another account if asked, that ends when its parent dies.

    launcher.py PARENT_PID SIGNAL ACCOUNT COMMAND...

ACCOUNT is `uid:gid`, or `-` to stay who we are. Run as a file of its own, with nothing but the
standard library: it stands between a fork and the program proper, where `preexec_fn` would run
Python in the forked child of a process with threads.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, signal_number, account, *command = sys.argv[1:]
    if account != "-":
        _become(*map(int, account.split(":")))
    if sys.platform == "linux":
        _follow(int(parent), int(signal_number))
    os.execvp(command[0], command)  # noqa: S606  # no shell wanted: this is the point of the program


def _become(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def _follow(parent: int, signal_number: int) -> None:
    # After the change of account, which would clear it.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal_number)
    if os.getppid() != parent:
        sys.exit("the parent is gone already")


if __name__ == "__main__":
    main()

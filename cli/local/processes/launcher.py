"""Become another program that ends when its parent dies, under another account if given.

    launcher.py PARENT_PID SIGNAL ACCOUNT COMMAND...

ACCOUNT is `uid:gid`, or `-` to keep the current one. This is a file of its own that needs only the
standard library. It runs between the fork and the program, since `preexec_fn` would run Python in
the forked child of a process with threads.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, signal_number, account, *command = sys.argv[1:]
    if account != "-":
        uid, gid = map(int, account.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        # After the change of account, which would clear it.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal_number))
        if os.getppid() != int(parent):
            sys.exit("the parent is gone already")
    os.execvp(command[0], command)  # noqa: S606  # no shell wanted


if __name__ == "__main__":
    main()

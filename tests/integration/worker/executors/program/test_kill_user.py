"""Every process of a user is killed, and one that is dead already is in nobody's way."""

import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.support.waiting import wait_until
from worker.executors.program import shim

UID = 64_990  # of nobody
ORPHAN = f"""
import subprocess, time
child = subprocess.Popen(["true"], user={UID})
print(child.pid, flush=True)
time.sleep(600)
"""
"""A process that never reaps its child, which is the user's."""

LIBC = ctypes.CDLL(None)
CAPBSET_DROP, SYS_ADMIN = 24, 21  # a right that the deployed containers do not have

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root kills another user's processes")


def kill_user(*directories):
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-I", "-S", shim.__file__, "kill-user", str(UID), *directories],
        check=False,
        preexec_fn=lambda: LIBC.prctl(CAPBSET_DROP, SYS_ADMIN),
    )
    return done.returncode, time.monotonic() - begun


def test_every_process_of_the_user_is_killed():
    processes = [subprocess.Popen(["sleep", "600"], user=UID) for _ in range(3)]  # noqa: S607
    try:
        code, _ = kill_user()
        assert [process.wait(60) for process in processes] == [-9] * 3
        assert code == 0
    finally:
        for process in processes:
            process.kill()


SHARING = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
os.setresuid(*3 * [int(sys.argv[1])])
private, create = 0, 0o1600
numbers = [libc.shmget(private, 4096, create), libc.semget(private, 1, create), libc.msgget(private, create)]
open("left", "w").close()
print(*numbers)
"""
"""Makes an object of each kind of System V, and a file."""


def system_v():
    return [
        line.split()[1]
        for kind in ("shm", "sem", "msg")
        for line in Path("/proc/sysvipc", kind).read_text().splitlines()
        if str(UID) in line.split()
    ]


def test_what_the_user_shared_is_gone_for_the_next_program_that_has_its_id(tmp_path):
    """Root without the right of an administrator removes it, as in the deployed containers."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    made = subprocess.run(
        [sys.executable, "-S", "-c", SHARING, str(UID)],
        cwd=shared,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert system_v() == made.stdout.split()
    code, _ = kill_user(shared)
    assert (code, system_v(), list(shared.iterdir())) == (0, [], [])


KEYS = """
import ctypes, os, sys
uid, keyctl = map(int, sys.argv[1:3])
libc = ctypes.CDLL(None)
os.setresuid(uid, uid, uid)
add, search, get_persistent = keyctl - 2, 10, 22
rings = [-4, -5, libc.syscall(keyctl, get_persistent, -1, -2)]
if sys.argv[3:]:
    found = [libc.syscall(add, b"user", b"runyard-test", b"secret", 6, ring) for ring in rings]
else:
    found = [libc.syscall(keyctl, search, ring, b"user", b"runyard-test", 0) for ring in rings]
print(sum(number > 0 for number in found))
"""
"""Adds a key to each keyring of the user, or counts the keyrings with that key."""


@pytest.mark.skipif(os.uname().machine not in shim.KEYCTL, reason="another number of the system call")
def test_keys_of_the_user_are_gone_for_the_next_program_that_has_its_id():
    def keys(*more):
        command = [sys.executable, "-S", "-c", KEYS, str(UID), str(shim.KEYCTL[os.uname().machine]), *more]
        return int(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)

    if not keys("add"):
        pytest.skip("this kernel or container lets nobody add a key")
    assert keys()
    code, _ = kill_user()
    assert (code, keys()) == (0, 0)


def test_what_root_has_given_to_the_user_stays(tmp_path):
    """As its home, in a directory in which the user can make nothing."""
    homes = tmp_path / "homes"
    (homes / "home").mkdir(parents=True)
    os.chown(homes / "home", UID, UID)
    code, _ = kill_user(homes)
    assert (code, list(homes.iterdir())) == (0, [homes / "home"])


def test_a_dead_process_that_nobody_reaps_is_no_process():
    with subprocess.Popen([sys.executable, "-S", "-c", ORPHAN], stdout=subprocess.PIPE, text=True) as parent:
        try:
            zombie = psutil.Process(int(parent.stdout.readline()))
            wait_until(lambda: zombie.status() == psutil.STATUS_ZOMBIE, what="the child to have ended")
            assert zombie.uids().real == UID
            code, seconds = kill_user()
            assert code == 0
            assert seconds < shim.KILL_USER_TIMEOUT
            assert zombie.status() == psutil.STATUS_ZOMBIE
        finally:
            parent.kill()

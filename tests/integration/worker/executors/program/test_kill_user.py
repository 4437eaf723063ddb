"""Every process of a user is killed, and one that is dead already is in nobody's way."""

import os
import subprocess
import sys
import time

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

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root kills another user's processes")


def kill_user():
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-I", "-S", shim.__file__, "kill-user", str(UID)], check=False)
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

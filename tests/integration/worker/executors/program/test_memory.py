"""The memory of a program, as its shim counts it."""

import ctypes
import os
import subprocess
import sys
import textwrap

import pytest

from tests.support.checkout import ROOT

UID = 64_991  # of nobody
SHARED = 64 << 20  # bytes
PROCESSES = 4

CAPBSET_DROP = 24
RIGHTS = (19, 21, 38)
"""SYS_PTRACE, SYS_ADMIN and PERFMON: any of them lets root read the memory map of another user's process."""

COUNT = f"""
    import ctypes, mmap, os, signal
    from worker.executors.program.shim import PR_SET_DUMPABLE, Shim, descendants

    block = mmap.mmap(-1, {SHARED})
    for page in range(0, len(block), mmap.PAGESIZE):
        block[page] = 1
    ready, tell = os.pipe()
    for _ in range({PROCESSES}):
        if not os.fork():
            os.setresgid({UID}, {UID}, {UID})
            os.setresuid({UID}, {UID}, {UID})
            ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
            sum(block[::mmap.PAGESIZE])
            os.write(tell, b"+")
            signal.pause()
    done = b""
    while len(done) < {PROCESSES}:
        done += os.read(ready, {PROCESSES})
    pids = descendants(os.getpid())
    try:
        print(Shim({{"account": [{UID}, {UID}]}}).exact_memory(pids), os.geteuid(), os.getegid())
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
"""
"""Some processes of a user that share memory with each other and with the shim."""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives programs users of their own")
def test_a_root_without_rights_counts_what_processes_share_once():
    """The containers of the deployment have such a root."""
    libc = ctypes.CDLL(None)

    def drop_rights():
        for right in RIGHTS:
            libc.prctl(CAPBSET_DROP, right, 0, 0, 0)

    counted = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(COUNT)],
        check=True,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        preexec_fn=drop_rights,
        text=True,
        timeout=60,
    )
    memory, *ids = map(int, counted.stdout.split())
    share = SHARED * PROCESSES / (PROCESSES + 1)  # the rest is the shim's
    assert share <= memory < SHARED + PROCESSES * (16 << 20)
    assert ids == [0, 0]

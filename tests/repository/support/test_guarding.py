"""What a test process started ends with it."""

import signal
import subprocess
import sys

import psutil

from tests.support.faults import lives
from tests.support.guarding import started
from tests.support.waiting import wait_until

CHILDREN = """
import signal, sys, time
from tests.support.faults import lives
from tests.support.guarding import started
slept = ["sleep", "300"]
print(started(slept).pid, started(slept, at_loss=signal.SIGTERM).pid, started(["true"]).wait(), flush=True)
time.sleep(300)
"""


def test_processes_end_with_the_process_that_started_them_even_if_that_is_killed():
    parent = started([sys.executable, "-c", CHILDREN], stdout=subprocess.PIPE, text=True)
    *pids, ended = map(int, parent.stdout.readline().split())
    children = [psutil.Process(pid) for pid in pids]
    assert ended == 0
    assert all(map(lives, children))
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    wait_until(lambda: not any(map(lives, children)), what="the children to end")

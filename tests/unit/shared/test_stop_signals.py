"""A signal that asks to stop is heard wherever it finds the process."""

import subprocess
import sys

PROGRAM = """
import signal, threading
from shared.processes.stop_signals import sets

stopping = threading.Event()
handler = sets(stopping)
signal.signal(signal.SIGTERM, handler)
with stopping._cond:  # as within its `wait` or `set`
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
print(stopping.wait(20))
"""


def test_a_signal_within_a_wait_for_it_is_heard():
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.stdout, ran.stderr) == ("True\n", "")

"""Another process of the same user learns nothing from ours."""

import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager

import psutil
import pytest

from cli.local import flower
from shared.processes.hidden import hidden_module, hide_memory, is_hidden
from shared.processes.ports import free_port
from tests.support.faults import family, kill
from tests.support.waiting import wait_until

SETPRIV = (
    *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
    # To reach this Python below root's home; it opens no door that the kernel guards as it does memory.
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
)
AS_NOBODY = SETPRIV if os.geteuid() == 0 else ()
"""Root may read everything, so the processes of these tests must not be root's."""

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux hides processes"),
    pytest.mark.skipif(bool(AS_NOBODY) and not shutil.which("setpriv"), reason="root, without setpriv"),
]
SPY = (
    "import sys\n"
    "for name in ('environ', 'maps', 'mem'):\n"
    "    try: print(name, len(open(f'/proc/{sys.argv[1]}/{name}', 'rb').read(64)))\n"
    "    except OSError: pass\n"
)
OPEN = "import sys; print('ready', flush=True); sys.stdin.read()"
COMMAND_LINE = (
    "import sys; from cli import main; main.app = lambda **_: sys.stdin.read(); main.main()"  # it waits
)
full_length = pytest.mark.full_length
WORKER = ["--processes=1", "--concurrency=2"]


@pytest.fixture
def env(committed_settings, tmp_path) -> dict[str, str]:
    return {
        **os.environ,
        "HOME": str(tmp_path),
        "RUNYARD_DATABASE_URL": committed_settings.database_url.get_secret_value(),
        "RUNYARD_REDIS_URL": committed_settings.redis_url.get_secret_value(),
        "RUNYARD_API_PORT": str(free_port()),
        "FLOWER_PORT": str(free_port()),
        "FLOWER_ADDRESS": "127.0.0.1",
    }


@contextmanager
def running(command: Sequence[str], env: dict[str, str]) -> Generator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [*AS_NOBODY, *command],
        env=env,
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        kill(*family(process.pid))
        process.communicate(timeout=30)


def seen_by_another(pid: int) -> str:
    """What another process of the same account reads of this one's."""
    spied = subprocess.run(
        [*AS_NOBODY, sys.executable, "-I", "-S", "-c", SPY, str(pid)],
        cwd="/",
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    )
    return spied.stdout


def test_a_process_that_does_not_hide_is_read(env):
    with running([sys.executable, "-c", OPEN], env) as process:
        wait_until(lambda: "environ" in seen_by_another(process.pid), timeout=60, what="the spy to see")


@pytest.mark.parametrize(
    ("command", "count"),
    [
        (hidden_module("api"), 1),
        ([sys.executable, "-P", "-m", "api"], 1),
        (hidden_module("worker.reconciler.reconciler"), 1),
        pytest.param([sys.executable, "-P", "-m", "worker.reconciler.reconciler"], 1, marks=full_length),
        (list(flower.COMMAND), 1),
        pytest.param(
            [sys.executable, "-P", "-m", "celery", "-A", "worker.app", "flower"], 1, marks=full_length
        ),
        ([sys.executable, "-P", "-c", COMMAND_LINE], 1),
        ([*hidden_module("worker"), *WORKER], 2),
        pytest.param([*hidden_module("worker"), *WORKER, "--pool=prefork"], 4, marks=full_length),
    ],
    ids=[
        "api",
        "bare-api",
        "reconciler",
        "bare-reconciler",
        "flower",
        "bare-flower",
        "cli",
        "threads",
        "prefork",
    ],
)
def test_no_process_of_ours_is_read(env, command, count):
    with running(command, env) as process:

        def are_up_and_hidden() -> bool:
            assert process.poll() is None, "It has ended."
            members = family(process.pid)
            return len(members) >= count and all(map(_is_hidden, members))

        wait_until(are_up_and_hidden, timeout=60, what=f"{count} hidden processes")


def test_a_command_that_we_start_is_hidden_before_it_loads_anything(env, tmp_path):
    # The module looks at itself in its first line.
    (tmp_path / "looks.py").write_text(
        "import sys, ctypes; sys.exit(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))", encoding="utf-8"
    )
    command = [word for word in hidden_module("looks") if word != "-P"]
    done = subprocess.run(command, env={**env, "PYTHONPATH": str(tmp_path)}, check=False, timeout=60)
    assert done.returncode == 0


def test_what_is_forked_stays_hidden():
    child = os.fork()
    if child == 0:
        hide_memory()
        grandchild = os.fork()
        if grandchild == 0:
            os._exit(0 if is_hidden() else 1)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _is_hidden(process: psutil.Process) -> bool:
    try:
        command = process.cmdline()
    except psutil.NoSuchProcess:  # some look at the machine by a program of the system
        return False
    return bool(command) and command[0] != SETPRIV[0] and seen_by_another(process.pid) == ""

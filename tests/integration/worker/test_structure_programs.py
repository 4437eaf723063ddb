"""Programs under a warden: real processes, their ends, their limits, and that nothing of them is left."""

import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Timer

import psutil
import pytest

from shared.runs.lifecycle import StoppedHow
from tests.support.faults import with_argument
from tests.support.waiting import wait_until
from worker.cancellation import CancelToken, RunStopped, StopReason
from worker.executors.base import InvalidConfigurationError, PlatformError
from worker.structures.process import Limits, run_program

GRACE = 1.0
LIMITS = Limits(
    memory=300_000_000,
    cpu=timedelta(seconds=1),
    file_size=1_000_000,
    processes=20,
    log_bytes=10_000,
    grace=timedelta(seconds=GRACE),
)

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def mark():
    """An argument that all processes of a test have; none of them may be left."""
    mark = uuid.uuid4().hex
    yield mark
    assert with_argument(mark) == []


@pytest.fixture
def run(tmp_path, mark):
    def run(source, *args, token=None, write_lines=None, env=None, **limits):
        lines = []
        ended = run_program(
            [sys.executable, "-c", textwrap.dedent(source), mark, *args],
            env={"PATH": os.environ["PATH"], **(env or {})},
            secrets={},
            place=tmp_path,
            cwd=tmp_path,
            limits=replace(LIMITS, **limits),
            token=token or CancelToken(),
            write_lines=write_lines or lines.extend,
        )
        return ended, [line.text for line in lines]

    return run


@pytest.mark.parametrize(
    ("source", "exit_code", "message"),
    [
        ("", 0, "The program ended."),
        ("raise SystemExit(3)", 3, "The program exited with code 3."),
        ("import os; os.kill(os.getpid(), 11)", 139, "The program was ended by SIGSEGV."),
        ("while True: pass", 152, "The program was ended by SIGXCPU."),
        ("open('big', 'wb').write(b'x' * 2_000_000)", 1, "The program exited with code 1."),
    ],
    ids=["ended", "code", "signal", "cpu", "file"],
)
def test_an_end_is_told_as_it_was(run, source, exit_code, message):
    ended, _ = run(source)
    assert (ended.exit_code, ended.message) == (exit_code, message)


def test_it_gets_its_arguments_its_environment_its_directory_and_nothing_else(run, tmp_path, mark):
    source = """
        import os, sys
        print(sys.argv[1:], sorted(os.environ), os.environ["MINE"], os.getcwd())
        print(sorted(int(fd) for fd in os.listdir("/proc/self/fd"))[:3], sys.stdin.read() == "")
        print(os.getpid() == os.getsid(0))
    """
    _, lines = run(source, "two words", env={"MINE": "1", "LC_CTYPE": "C.UTF-8"})
    names = ["LC_CTYPE", "MINE", "PATH", "RUNYARD_PROGRAM"]
    assert lines[0] == f"{[mark, 'two words']} {names} 1 {tmp_path}"
    assert lines[1:] == ["[0, 1, 2] True", "True"]


def test_it_cannot_reach_its_warden(run):
    """The descriptor by which the warden hears of the worker is not the program's."""
    _, lines = run("import os; print(len(os.listdir('/proc/self/fd')))")
    assert lines == ["4"]  # three, and the one that lists


def test_a_line_is_handed_on_while_it_runs(run, mark):
    alive_at_line = []
    run(
        "import time; print('a', flush=True); time.sleep(0.5)",
        write_lines=lambda _: alive_at_line.append(with_argument(mark)),
    )
    assert alive_at_line[0]


def test_one_that_goes_on_request_is_stopped_cooperatively(run):
    token = CancelToken()
    Timer(0.3, token.cancel, [StopReason.CANCELLED]).start()
    with pytest.raises(RunStopped) as stopped:
        run("import time; time.sleep(60)", token=token)
    assert stopped.value.how is StoppedHow.COOPERATIVE


STUBBORN = """
    import os, signal, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for _ in range(3):
        if not os.fork():
            os.setsid()
            if not os.fork():
                time.sleep(60)
            os._exit(0)
    print("ready", flush=True)
    time.sleep(60)
"""


def test_promise_5_one_that_ignores_the_request_is_killed_with_all_it_has_started(run, mark):
    """Promise 5: within the grace and a second, detached grandchildren included."""
    token, asked = CancelToken(), []

    def cancel(_lines):
        asked.append(time.monotonic())
        token.cancel(StopReason.CANCELLED)

    with pytest.raises(RunStopped) as stopped:
        run(STUBBORN, token=token, write_lines=cancel)
    assert stopped.value.how is StoppedHow.KILLED
    assert GRACE <= time.monotonic() - asked[0] < GRACE + 1
    assert with_argument(mark) == []


def test_what_it_leaves_behind_goes_with_it(run, mark):
    ended, _ = run("import os, time\nif not os.fork():\n    os.setsid()\n    time.sleep(60)")
    assert ended.exit_code == 0
    assert with_argument(mark) == []


def test_a_fork_bomb_is_ended(run):
    """One that would end by itself, for the machine's sake."""
    ended, _ = run("import os, time\nfor _ in range(8): os.fork()\ntime.sleep(20)")
    assert (ended.exit_code, ended.message) == (137, "The program had more than the 20 processes it may.")


ENDED_CHILDREN = """
    import os, time
    for _ in range({count}):
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    time.sleep(0.5)
"""


def test_processes_that_have_ended_do_not_count(run):
    ended, _ = run(ENDED_CHILDREN.format(count=60))
    assert (ended.exit_code, ended.message) == (0, "The program ended.")


def test_very_many_of_them_do(run):
    ended, _ = run(ENDED_CHILDREN.format(count=260))
    assert (ended.exit_code, ended.message) == (137, "The program had more than the 20 processes it may.")


def test_one_that_flees_by_forking_is_killed_to_the_last(run):
    """A few processes, each of which is followed by a child again and again."""
    source = """
        import os, time
        end = time.monotonic() + 10
        for _ in range(4):
            if not os.fork():
                while time.monotonic() < end:
                    if os.fork():
                        os._exit(0)
                os._exit(0)
        time.sleep(0.3)
        """
    started = time.monotonic()
    ended, _ = run(source, processes=10_000)
    assert ended.exit_code == 0
    assert time.monotonic() - started < 8


def test_much_memory_in_many_processes_is_ended(run):
    ended, _ = run(
        """
        import os, time
        for _ in range(8):
            if not os.fork():
                block = b"x" * 80_000_000
                time.sleep(60)
        time.sleep(60)
        """
    )
    assert ended.exit_code == 137
    assert "memory" in ended.message


def test_the_cpu_limit_cannot_be_ignored_for_long(run):
    _, lines = run("import resource; print(resource.getrlimit(resource.RLIMIT_CPU))")
    assert lines == ["(1, 6)"]  # SIGXCPU at the first, SIGKILL at the second


def test_five_hundred_threads_have_room_in_a_gibibyte(run):
    source = """
        import threading
        done = threading.Event()
        for _ in range(500):
            threading.Thread(target=done.wait).start()
        print(threading.active_count())
        done.set()
        """
    ended, lines = run(source, memory=1 << 30)
    assert (ended.exit_code, lines) == (0, ["501"])


def test_the_main_thread_has_its_usual_stack(run):
    usual = resource.getrlimit(resource.RLIMIT_STACK)
    source = f"""
        import resource, time
        end = time.monotonic() + 10
        while resource.getrlimit(resource.RLIMIT_STACK) != {usual} and time.monotonic() < end:
            time.sleep(0.05)
        print(resource.getrlimit(resource.RLIMIT_STACK))
        """
    _, lines = run(source)
    assert lines == [str(usual)]


def test_much_shared_memory_is_ended(run):
    source = """
        import mmap, time
        block = mmap.mmap(-1, 400 << 20)
        for page in range(0, len(block), mmap.PAGESIZE):
            block[page] = 1
        time.sleep(20)
        """
    ended, _ = run(source)
    assert ended.exit_code == 137
    assert "memory" in ended.message


def test_what_processes_share_counts_once(run):
    source = """
        import os, time
        block = b"x" * 60_000_000
        for _ in range(6):
            if not os.fork():
                time.sleep(1)
                os._exit(0)
        for _ in range(6):
            os.wait()
        """
    ended, _ = run(source, memory=200_000_000)
    assert (ended.exit_code, ended.message) == (0, "The program ended.")


def test_two_hundred_megabytes_of_output_take_no_memory(run):
    before = psutil.Process().memory_info().rss
    ended, lines = run("import sys\nfor n in range(2000): sys.stdout.write(f'{n:099}\\n' * 1000)")
    assert ended.exit_code == 0
    assert psutil.Process().memory_info().rss - before < 50_000_000
    assert lines[0].endswith("0000")
    assert lines[-1] == f"{1999:099}"
    assert sum(map(len, lines)) < 40_000
    (marker,) = [line for line in lines if "left out" in line]
    left_out = int(marker.split()[1])
    assert left_out + len(lines) - 1 == 2_000_000


def test_when_its_worker_dies_everything_of_it_does(mark, tmp_path):
    """Its directory, too; what links in there point to stays."""
    place, elsewhere = tmp_path / "place", tmp_path / "elsewhere"
    for directory in (place, elsewhere):
        directory.mkdir()
        (directory / "file").touch()
    (place / "link").symlink_to(elsewhere)
    worker = f"""
        import sys
        from datetime import timedelta
        from pathlib import Path
        from worker.cancellation import CancelToken
        from worker.structures.process import Limits, run_program
        run_program(
            [sys.executable, "-c", {textwrap.dedent(STUBBORN)!r}, {mark!r}],
            env={{}},
            secrets={{}},
            place=Path({str(place)!r}),
            cwd=Path({str(place)!r}),
            limits=Limits(10**9, timedelta(9), 10**6, 20, 1000, timedelta(seconds=5)),
            token=CancelToken(),
            write_lines=lambda lines: print(lines, flush=True),
        )
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(worker)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    ) as process:
        try:
            assert process.stdout
            assert b"ready" in process.stdout.readline()
            wait_until(lambda: len(with_argument(mark)) >= 6, timeout=10, what="the whole tree")
        finally:
            process.send_signal(signal.SIGKILL)
        wait_until(lambda: not with_argument(mark), timeout=3, what="all of it to be gone")
    wait_until(lambda: not place.exists(), timeout=3, what="its directory to be gone")
    assert (elsewhere / "file").exists()


def test_when_its_warden_dies_everything_of_it_does(run, mark):
    """That is the platform's fault; detached grandchildren go, too."""

    def kill_the_warden(_lines):
        (warden,) = [one for one in with_argument(mark) if one.ppid() == os.getpid()]
        warden.kill()

    with pytest.raises(PlatformError, match="the program was ended"):
        run(STUBBORN, write_lines=kill_the_warden)
    assert with_argument(mark) == []


def test_one_whose_output_cannot_be_kept_is_ended(run, mark):
    def refuse(_lines):
        raise LookupError

    with pytest.raises(LookupError):
        run("import time; print('a', flush=True); time.sleep(60)", write_lines=refuse)
    wait_until(lambda: not with_argument(mark), timeout=3, what="all of it to be gone")


def test_a_command_that_is_not_there_is_a_matter_of_configuration(tmp_path):
    with pytest.raises(InvalidConfigurationError, match="cannot be started"):
        run_program(
            ["no-such-command"],
            env={"PATH": "/bin"},
            secrets={},
            place=tmp_path,
            cwd=tmp_path,
            limits=LIMITS,
            token=CancelToken(),
            write_lines=list,
        )


def test_several_run_side_by_side(run):
    with ThreadPoolExecutor(8) as pool:
        ends = list(pool.map(lambda n: run(f"print({n})"), range(8)))
    assert [lines for _, lines in ends] == [[str(n)] for n in range(8)]

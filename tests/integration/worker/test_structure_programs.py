"""Programs under a warden: real processes, their ends, their limits, and that nothing of them is left."""

import os
import re
import resource
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer

import psutil
import pytest

from shared.runs.lifecycle import StoppedHow
from shared.structures.sandbox import Mode
from tests.support.faults import of_place
from tests.support.sandboxes import choice_of
from tests.support.waiting import wait_until
from worker.cancellation import CancelToken, RunStopped, StopReason
from worker.executors.base import InvalidConfigurationError, PlatformError
from worker.structures.holding import Holder
from worker.structures.process import Job, Limits, run_program

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


@pytest.fixture(params=[mode.value for mode in Mode])
def holder(request):
    """What holds programs, in each mode that works on this machine."""
    choice = choice_of(request.param)
    if choice.sandbox is None:
        pytest.skip(choice.why_not)
    return Holder(choice.sandbox, first_uid=60_600, uids=100)


@pytest.fixture
def place():
    """The directory of one run."""
    with TemporaryDirectory(prefix="runyard-test-") as directory:
        yield Path(directory)
        assert of_place(directory) == [], "something of a program is left"


@pytest.fixture
def run_in(holder):
    """Run a source as a program, in a directory of its own if none is given: how it ended, and its lines."""

    def run_in(source, *args, place=None, token=None, write_lines=None, env=None, **limits):
        if place is None:
            with TemporaryDirectory(prefix="runyard-test-") as directory:
                return run_in(source, *args, place=Path(directory), **limits)
        lines = []
        home = place / "home"
        home.mkdir(exist_ok=True)
        (home / "main.py").write_text(textwrap.dedent(source))
        ended = run_program(
            Job(
                ["main.py", *args],
                home,
                variables={"TMPDIR": str(place / "tmp"), **(env or {})},
                environment={"PATH": os.environ["PATH"]},
            ),
            holder=holder,
            secrets={},
            place=place,
            limits=replace(LIMITS, **limits),
            token=token or CancelToken(),
            write_lines=write_lines or lines.extend,
        )
        return ended, [line.text for line in lines]

    return run_in


@pytest.fixture
def run(run_in, place):
    """The same, in the directory of the test."""
    return partial(run_in, place=place)


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


def test_it_gets_its_arguments_its_environment_its_directory_and_nothing_else(run, place):
    source = """
        import os, sys
        print(sys.argv, sorted(os.environ), os.environ["MINE"], os.getcwd(), sys.path[0])
        print(sorted(int(fd) for fd in os.listdir("/proc/self/fd"))[:3], sys.stdin.read() == "")
    """
    _, lines = run(source, "two words", env={"MINE": "1", "LC_CTYPE": "C.UTF-8"})
    names = ["LC_CTYPE", "MINE", "PATH", "PWD", "RUNYARD_PROGRAM", "TMPDIR"]
    told, rest = lines[0].split("] [", 1)
    assert told == "['main.py', 'two words'"
    assert set(re.findall(r"'(\w+)'", rest)) <= set(names)
    assert {"MINE", "TMPDIR"} <= set(re.findall(r"'(\w+)'", rest))
    assert f" 1 {place / 'home'} " in rest
    assert lines[1] == "[0, 1, 2] True"


def test_its_arguments_and_variables_are_not_in_the_table_of_processes(run, place):
    seen = []

    def look(_lines):
        for process in of_place(place):
            seen.extend([*process.cmdline(), *process.environ().values()])

    run(
        "import time; print('a', flush=True); time.sleep(0.3)",
        "hush-argument",
        env={"A": "hush-value"},
        write_lines=look,
    )
    assert seen
    assert not [word for word in seen if "hush" in word]


def test_it_cannot_reach_its_warden(run):
    """The descriptor by which the warden hears of the worker is not the program's."""
    _, lines = run("import os; print(len(os.listdir('/proc/self/fd')))")
    assert lines == ["4"]  # three, and the one that lists


def test_a_line_is_handed_on_while_it_runs(run, place):
    alive_at_line = []
    run(
        "import time; print('a', flush=True); time.sleep(0.5)",
        write_lines=lambda _: alive_at_line.append(of_place(place)),
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


def test_promise_5_one_that_ignores_the_request_is_killed_with_all_it_has_started(run, place):
    """Promise 5: within the grace and a second, detached grandchildren included."""
    token, asked = CancelToken(), []

    def cancel(_lines):
        asked.append(time.monotonic())
        token.cancel(StopReason.CANCELLED)

    with pytest.raises(RunStopped) as stopped:
        run(STUBBORN, token=token, write_lines=cancel)
    assert stopped.value.how is StoppedHow.KILLED
    assert GRACE <= time.monotonic() - asked[0] < GRACE + 1
    assert of_place(place) == []


def test_what_it_leaves_behind_goes_with_it(run, place):
    ended, _ = run("import os, time\nif not os.fork():\n    os.setsid()\n    time.sleep(60)")
    assert ended.exit_code == 0
    assert of_place(place) == []


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


def test_when_its_worker_dies_everything_of_it_does(tmp_path):
    """Its directory, too; what links in there point to stays."""
    place, elsewhere = tmp_path / "place", tmp_path / "elsewhere"
    for directory in (place, elsewhere, place / "home"):
        directory.mkdir()
        (directory / "file").touch()
    (place / "link").symlink_to(elsewhere)
    (place / "home" / "main.py").write_text(textwrap.dedent(STUBBORN))
    worker = f"""
        from datetime import timedelta
        from pathlib import Path
        from shared.structures.sandbox import Mode, Sandbox
        from worker.cancellation import CancelToken
        from worker.structures.holding import Holder
        from worker.structures.process import Job, Limits, run_program
        run_program(
            Job(["main.py"], Path({str(place / "home")!r}), variables={{"TMPDIR": {str(place / "tmp")!r}}}),
            holder=Holder(Sandbox(Mode.NONE)),
            secrets={{}},
            place=Path({str(place)!r}),
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
            wait_until(lambda: len(of_place(place)) >= 4, timeout=10, what="the whole tree")
        finally:
            process.send_signal(signal.SIGKILL)
        wait_until(lambda: not of_place(place), timeout=3, what="all of it to be gone")
    wait_until(lambda: not place.exists(), timeout=3, what="its directory to be gone")
    assert (elsewhere / "file").exists()


def test_when_its_warden_dies_everything_of_it_does(run, place):
    """That is the platform's fault; detached grandchildren go, too."""

    def kill_the_warden(_lines):
        children = [one for one in psutil.Process().children() if one.status() != psutil.STATUS_ZOMBIE]
        (warden,) = [one for one in children if "warden.py" in str(one.cmdline())]
        warden.kill()

    with pytest.raises(PlatformError, match="the program was ended"):
        run(STUBBORN, write_lines=kill_the_warden)
    assert of_place(place) == []


def test_one_whose_output_cannot_be_kept_is_ended(run, place):
    def refuse(_lines):
        raise LookupError

    with pytest.raises(LookupError):
        run("import time; print('a', flush=True); time.sleep(60)", write_lines=refuse)
    wait_until(lambda: not of_place(place), timeout=3, what="all of it to be gone")


def test_a_main_file_that_is_not_there_is_a_matter_of_configuration(place, holder):
    (place / "home").mkdir()
    with pytest.raises(InvalidConfigurationError, match="cannot be started"):
        run_program(
            Job(["no-such-file.py"], place / "home"),
            holder=holder,
            secrets={},
            place=place,
            limits=LIMITS,
            token=CancelToken(),
            write_lines=list,
        )


def test_several_run_side_by_side(run_in):
    with ThreadPoolExecutor(8) as pool:
        ends = list(pool.map(lambda n: run_in(f"print({n})"), range(8)))
    assert [lines for _, lines in ends] == [[str(n)] for n in range(8)]


SECRETS = """
    import os
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal() and int(name) != os.getpid():
            try:
                found.append(b"hush" in open(f"/proc/{name}/environ", "rb").read())
            except OSError:
                continue
    print(any(found))
"""


@pytest.fixture
def held(holder):
    """What holds programs, where it is more than nothing."""
    if holder.sandbox.mode is Mode.NONE:
        pytest.skip("Without a sandbox a program does what the worker's user may.")
    return holder


def test_a_program_reads_no_environment_of_others(held, run, monkeypatch):
    neighbour = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env={"A": "hush"})
    try:
        _, lines = run(SECRETS)
    finally:
        neighbour.kill()
        neighbour.communicate()
    assert lines == ["False"]


def test_a_program_reads_no_files_of_the_worker_and_of_other_runs(held, run, tmp_path):
    with TemporaryDirectory(prefix="runyard-test-") as other:
        secrets = [Path(other) / "secret", tmp_path / "dev.json"]
        for path in secrets:
            path.write_text("hush")
            path.chmod(0o600)
        source = f"""
            for path in {[str(path) for path in secrets]}:
                try:
                    print(open(path).read())
                except OSError as error:
                    print("refused")
            """
        _, lines = run(source)
    assert lines == ["refused", "refused"]


def test_a_program_signals_nobody_else(held, run):
    neighbour = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    source = f"""
        import os
        for pid in ({neighbour.pid}, os.getppid()):
            try:
                os.kill(pid, 9)
            except OSError:
                pass
        try:
            os.kill(-1, 0)
        except OSError:
            pass
        print("still here")
        """
    try:
        ended, lines = run(source)
        assert neighbour.poll() is None
    finally:
        neighbour.kill()
        neighbour.communicate()
    assert (ended.exit_code, lines) == (0, ["still here"])


def test_a_program_gains_no_privileges_and_writes_nowhere_but_in_its_directory(held, run):
    source = """
        import ctypes, os
        print(os.getuid() != 0 or os.geteuid() != 0, ctypes.CDLL(None).prctl(39, 0, 0, 0, 0))
        for path in ("/usr/x", "/etc/x", os.path.dirname(os.__file__) + "/x"):
            try:
                open(path, "w").close()
                print("wrote", path)
            except OSError:
                pass
        open(os.environ["TMPDIR"] + "/x", "w").close()
        open("x", "w").close()
        """
    ended, lines = run(source)
    assert ended.exit_code == 0
    assert lines[0].endswith(" 1")  # no new privileges
    assert lines[1:] == []


def test_the_network_is_there(run):
    source = """
        import socket
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname()).close()
        print("connected")
        """
    assert run(source)[1] == ["connected"]

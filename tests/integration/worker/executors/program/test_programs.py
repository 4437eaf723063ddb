"""Programs under a shim: real processes, their ends, their limits, and that nothing of them is left."""

import itertools
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
from functools import partial
from pathlib import Path
from threading import Timer

import psutil
import pytest

from shared.lifecycle import StoppedHow
from tests.support.checkout import ROOT
from tests.support.faults import of_program, with_argument
from tests.support.sandboxes import holder
from tests.support.waiting import wait_until
from worker.cancellation import CancelToken, RunStopped, StopReason
from worker.executors.base import InvalidConfigurationError, PlatformError
from worker.executors.program.runner import Job, Limits, run_program

GRACE = 1.0
LIMITS = Limits(
    memory=300_000_000,
    cpu=timedelta(seconds=1),
    file_size=1_000_000,
    processes=20,
    log_bytes=10_000,
    grace=timedelta(seconds=GRACE),
)

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(params=["bubblewrap", "user", "none"])
def mode(request):
    """What holds the programs: all that works on this machine."""
    return request.param


@pytest.fixture
def mark():
    """The mark of all processes of a test; none of them may be left."""
    mark = uuid.uuid4().hex
    yield mark
    assert of_program(mark) == []


@pytest.fixture
def run(tmp_path, mark, mode):
    held = holder(mode)
    numbers = itertools.count()

    def run(source, *args, token=None, write_lines=None, env=None, **limits):
        lines = []
        workdir = tmp_path / f"workdir-{next(numbers)}"
        workdir.mkdir()
        (workdir / "main.py").write_text(textwrap.dedent(source))
        ended = run_program(
            Job(["main.py", *args], workdir, env or {}, {"PATH": os.environ["PATH"]}),
            mark=mark,
            holder=held,
            secrets={},
            workdir=workdir,
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
    assert (ended.exit_code, ended.message.partition(" It said last:")[0]) == (exit_code, message)


def test_it_gets_its_arguments_its_environment_its_directory_and_nothing_else(run, tmp_path):
    source = """
        import os, sys
        print(sys.argv, sorted(os.environ), os.environ["MINE"], os.getcwd())
        print(sorted(int(fd) for fd in os.listdir("/proc/self/fd"))[:3], sys.stdin.read() == "")
        print(os.getsid(0) in {1, os.getpid()}, __name__, os.path.basename(__file__), sys.path[0] != "")
    """
    _, lines = run(source, "two words", env={"MINE": "1"})
    names = {"LC_CTYPE", "MINE", "PATH", "RUNYARD_PROGRAM"}
    arguments, _, rest = lines[0].partition("] [")
    assert arguments == "['main.py', 'two words'"
    assert {name.strip("' ") for name in rest.partition("]")[0].split(",")} - {"PWD"} == names
    assert rest.endswith(f" 1 {tmp_path / 'workdir-0'}")
    assert lines[1:] == ["[0, 1, 2] True", "True __main__ main.py True"]


def test_neither_arguments_nor_variables_are_in_the_table_of_processes(run, mark):
    """Of none of its processes, its shim and its sandbox among them; not while it starts, nor later."""
    seen = []

    def look(_lines):
        for process in of_program(mark):
            seen.append((Path("/proc") / str(process.pid) / "cmdline").read_bytes())
            seen.append((Path("/proc") / str(process.pid) / "environ").read_bytes())

    run(
        "print('on', flush=True)\nimport time; time.sleep(0.3)",
        "s3cret",
        write_lines=look,
        env={"K": "s3cret"},
    )
    assert len(seen) >= 4
    assert not [one for one in seen if b"s3cret" in one]


def test_it_cannot_reach_its_shim(run):
    """The descriptor by which the shim hears of the worker is not the program's."""
    _, lines = run("import os; print(len(os.listdir('/proc/self/fd')))")
    assert lines == ["4"]  # three, and the one that lists


def test_its_worker_may_have_more_files_open_than_select_knows(run):
    """The shim has its end of the link by the worker's number."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limits[0], min(limits[1], 2048)), limits[1]))
    many = [os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) for _ in range(1024)]
    try:
        ended, lines = run("print('on')")
    finally:
        for descriptor in many:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert (ended.exit_code, lines) == (0, ["on"])


def test_its_worker_may_keep_new_files_to_itself(run):
    """A usual setting of services; the program inherits it."""
    mask = os.umask(0o077)
    try:
        ended, lines = run("import os; print(oct(os.umask(0)))")
    finally:
        os.umask(mask)
    assert (ended.message, lines) == ("The program ended.", ["0o77"])


def test_an_error_is_shown_as_of_a_program_that_was_started_alone(run):
    ended, lines = run("def f():\n    raise LookupError('no')\nf()")
    assert ended.exit_code == 1
    assert lines[0] == "Traceback (most recent call last):"
    assert "main.py" in lines[1]
    assert lines[-1] == "LookupError: no"
    assert not [line for line in lines if "launch.py" in line]


def test_a_line_is_handed_on_while_it_runs(run, mark):
    alive_at_line = []
    run(
        "import time; print('a', flush=True); time.sleep(0.5)",
        write_lines=lambda _: alive_at_line.append(of_program(mark)),
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
    took = time.monotonic() - asked[0]
    assert GRACE <= took < GRACE + 15  # a second on an idle machine; by itself it would take a minute
    assert of_program(mark) == []


def test_what_it_leaves_behind_goes_with_it(run, mark):
    ended, _ = run("import os, time\nif not os.fork():\n    os.setsid()\n    time.sleep(60)")
    assert ended.exit_code == 0
    assert of_program(mark) == []


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
        end = time.monotonic() + 60
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
    assert time.monotonic() - started < 30  # half of what they would take by themselves


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
    _, lines = run("import resource; print(resource.getrlimit(resource.RLIMIT_STACK))")
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


WORKER = """
    import ctypes, sys
    from datetime import timedelta
    from pathlib import Path
    from tests.support.sandboxes import holder
    from worker.cancellation import CancelToken
    from worker.executors.program.runner import Job, Limits, run_program
    ctypes.CDLL(None).prctl(4, 0)  # not dumpable, as workers are
    workdir = Path({workdir!r})
    run_program(
        Job(["main.py"], workdir),
        mark={mark!r},
        holder=holder({mode!r}),
        secrets={{}},
        workdir=workdir,
        limits=Limits(10**9, timedelta(9), 10**6, 20, 1000, timedelta(seconds=30)),
        token=CancelToken(),
        write_lines=lambda lines: print(lines, flush=True),
    )
"""


def test_when_its_worker_dies_everything_of_it_does(mark, tmp_path, mode):
    """Its directory, too; what links in there point to stays."""
    holder(mode)
    workdir, elsewhere = tmp_path / "workdir", tmp_path / "elsewhere"
    for directory in (workdir, elsewhere):
        directory.mkdir()
        (directory / "file").touch()
    (workdir / "link").symlink_to(elsewhere)
    (workdir / "main.py").write_text(textwrap.dedent(STUBBORN))
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WORKER.format(workdir=str(workdir), mark=mark, mode=mode))],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        try:
            assert process.stdout
            assert b"ready" in process.stdout.readline()
            wait_until(lambda: len(of_program(mark)) >= 5, timeout=60, what="the whole tree")
        finally:
            process.send_signal(signal.SIGKILL)
        wait_until(lambda: not of_program(mark), timeout=60, what="all of it to be gone")
    wait_until(lambda: not workdir.exists(), timeout=60, what="its directory to be gone")
    assert (elsewhere / "file").exists()


def test_when_its_shim_dies_everything_of_it_does(run, mark):
    """That is the platform's fault; detached grandchildren go, too."""

    def kill_the_shim(_lines):
        (shim,) = [one for one in of_program(mark) if one.ppid() == os.getpid()]
        shim.kill()

    with pytest.raises(PlatformError, match="the program was ended"):
        run(STUBBORN, write_lines=kill_the_shim)
    assert of_program(mark) == []


NAMELESS = """
    import os, sys, time
    if not os.fork():
        os.setsid()
        if not os.fork():
            os.execve("/bin/sleep", ["sleep", sys.argv[1]], {})
        os._exit(0)
    os.wait()
    print("ready", flush=True)
    try:
        os.kill(os.getppid(), 9)
    except PermissionError:
        pass
    time.sleep(20)
"""


def test_one_that_kills_what_watches_it_leaves_no_detached_child_without_a_mark(run, mode):
    """In a sandbox it has nobody above to kill; without one, its orphans come back to the worker."""
    seconds = f"77.{uuid.uuid4().int % 10**9}"
    if mode == "none":
        with pytest.raises(PlatformError, match="the program was ended"):
            run(NAMELESS, seconds)
    else:
        Timer(1, (token := CancelToken()).cancel, [StopReason.CANCELLED]).start()
        with pytest.raises(RunStopped):
            run(NAMELESS, seconds, token=token)
    assert with_argument(seconds) == []


@pytest.mark.parametrize("mode", ["none"])
def test_it_leaves_none_to_a_worker_of_the_lowest_priority_either(run):
    """A program has no lower one than such a worker."""
    seconds = f"77.{uuid.uuid4().int % 10**9}"
    lowest = partial(os.setpriority, os.PRIO_PROCESS, 0, 19)  # of a thread
    with ThreadPoolExecutor(1, initializer=lowest) as worker, pytest.raises(PlatformError):
        worker.submit(run, NAMELESS, seconds).result()
    assert with_argument(seconds) == []


def test_one_whose_output_cannot_be_kept_is_ended(run, mark):
    def refuse(_lines):
        raise LookupError

    with pytest.raises(LookupError):
        run("import time; print('a', flush=True); time.sleep(60)", write_lines=refuse)
    wait_until(lambda: not of_program(mark), timeout=60, what="all of it to be gone")


def test_a_main_file_that_is_not_there_is_a_matter_of_configuration(tmp_path, mode):
    with pytest.raises(InvalidConfigurationError, match="cannot be started"):
        run_program(
            Job(["no-such-file"], tmp_path),
            mark=uuid.uuid4().hex,
            holder=holder(mode),
            secrets={},
            workdir=tmp_path,
            limits=LIMITS,
            token=CancelToken(),
            write_lines=list,
        )


def test_several_run_side_by_side(run):
    with ThreadPoolExecutor(8) as pool:
        ends = list(pool.map(lambda n: run(f"print({n})"), range(8)))
    assert [lines for _, lines in ends] == [[str(n)] for n in range(8)]

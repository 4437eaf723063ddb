"""What a hostile program can reach from where it is held, in each mode that works on this machine."""

import ctypes
import os
import socket
import textwrap
import threading
import uuid
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from shared.structures.sandbox import Mode, Sandbox
from tests.support.checkout import ROOT
from tests.support.faults import of_program
from tests.support.sandboxes import UIDS, chosen, holder, own_uids
from worker.cancellation import CancelToken
from worker.executors.base import InvalidConfigurationError
from worker.executors.program.holding import Holder
from worker.executors.program.runner import Job, Limits, run_program

LIMITS = Limits(
    memory=300_000_000,
    cpu=timedelta(seconds=5),
    file_size=1_000_000,
    processes=20,
    log_bytes=100_000,
    grace=timedelta(seconds=1),
)
SECRET = "hush-" + uuid.uuid4().hex

pytestmark = pytest.mark.timeout(300)

HELD = pytest.mark.parametrize("mode", ["bubblewrap", "user"])
EVERY = pytest.mark.parametrize("mode", ["bubblewrap", "user", "none"])


@pytest.fixture
def attack(mode):
    """Execute a hostile source; return how it ended, and its lines."""
    held = holder(mode)

    def attack(source, *args, env=None, write_lines=None):
        lines = []
        mark = uuid.uuid4().hex
        with TemporaryDirectory(prefix="runyard-test-") as directory:
            workdir = Path(directory)
            (workdir / "main.py").write_text(textwrap.dedent(source))
            ended = run_program(
                Job(["main.py", *map(str, args)], workdir, env or {}, {"PATH": os.environ["PATH"]}),
                mark=mark,
                holder=held,
                secrets={},
                workdir=workdir,
                limits=LIMITS,
                token=CancelToken(),
                write_lines=write_lines or lines.extend,
            )
        assert of_program(mark) == []
        return ended, [line.text for line in lines]

    return attack


READ = """
    import os, sys
    for path in sys.argv[1:]:
        try:
            print(os.listdir(path) if os.path.isdir(path) else open(path, "rb").read(4096))
        except OSError:
            print("closed")
"""


@HELD
def test_it_reads_neither_the_environment_nor_the_memory_of_those_above_it(attack, monkeypatch, mode):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    source = """
        import os
        for pid in filter(str.isdecimal, os.listdir("/proc")):
            for name in ("environ", "mem", "maps", "fd"):
                path = f"/proc/{pid}/{name}"
                try:
                    said = os.listdir(path) if name == "fd" else open(path, "rb").read(4096)
                except OSError:
                    continue
                status = open(f"/proc/{pid}/status").read()
                if said and f"Uid:\\t{os.getuid()}\\t" not in status:
                    print("read", path)
                if b"hush-" in bytes(str(said), "utf-8"):
                    print("leak", path)
        print("done")
    """
    _, lines = attack(source)
    assert lines == ["done"]


@HELD
def test_it_reads_no_files_of_the_workers(attack, tmp_path):
    """Neither a `.env`, nor what `runyard dev` keeps, nor a socket's directory."""
    private = tmp_path / ".runyard"
    private.mkdir(mode=0o700)
    (private / "dev.json").write_text(SECRET)
    (private / "dev.json").chmod(0o600)
    _, lines = attack(READ, private, private / "dev.json", Path.home() / ".profile", "/etc/shadow")
    assert set(lines) == {"closed"}


@pytest.mark.parametrize("mode", ["bubblewrap"])
def test_it_sees_no_files_but_the_systems_pythons_and_its_own(attack, monkeypatch, tmp_path):
    """A file that anybody may read is not there: only modules of a directory of modules are shown."""
    project = tmp_path / "project"
    project.mkdir()
    tmp_path.chmod(0o755)
    for name in (".env", "notes.txt", "module.py"):
        (project / name).write_text(SECRET)
        (project / name).chmod(0o644)
    monkeypatch.syspath_prepend(str(project))
    _, lines = attack(
        READ,
        project,
        project / ".env",
        "/home",
        "/run",
        "/var/lib",
        "/sys",
        ROOT / ".git",
    )
    assert lines == ["['module.py']", "closed", "closed", "[]", "closed", "closed", "closed"]


@pytest.mark.parametrize("mode", ["bubblewrap"])
def test_it_sees_no_process_but_its_own_and_no_shared_file_of_others(attack):
    _, lines = attack(
        "import os; print(len([p for p in os.listdir('/proc') if p.isdecimal()]), os.listdir('/dev/shm'))"
    )
    assert lines == ["2 []"]


@EVERY
def test_it_gains_no_rights(attack, mode):
    source = """
        import os
        lines = open("/proc/self/status").read().splitlines()
        status = dict(line.split(":\\t", 1) for line in lines if ":\\t" in line)
        print(status["NoNewPrivs"], status["CapEff"], os.getuid())
    """
    _, (line,) = attack(source)
    new, rights, uid = line.split()
    assert new == "1"
    if mode != Mode.NONE:
        assert int(rights, 16) == 0
        assert int(uid) != 0


@HELD
def test_it_can_signal_nothing_but_its_own(attack):
    source = """
        import os, signal
        reached = []
        for pid in map(int, os.sys.argv[1:]):
            try:
                os.kill(pid, 0)
                reached.append(pid)
            except OSError:
                pass
        print(reached)
    """
    _, lines = attack(source, os.getpid(), os.getppid())
    assert lines == ["[]"]


@HELD
def test_two_at_once_can_neither_read_nor_signal_each_other(attack, mode):
    """By its directory, by its processes, by a file in a directory that is everybody's."""
    if not chosen(mode).sandbox.has_accounts and mode != Mode.BUBBLEWRAP:
        pytest.skip("one user has all programs")
    workdirs, seen, started, done = [], [], threading.Event(), threading.Event()
    source = """
        import os, time
        open("secret", "w").write("x")
        open("/tmp/left-" + os.path.basename(os.getcwd()), "w").write("x")
        print(os.getcwd(), os.getpid(), flush=True)
        time.sleep(30)
    """

    def first_lines(lines):
        workdirs.extend(lines[0].text.split())
        started.set()
        done.wait(60)
        raise LookupError

    def first():
        with pytest.raises(LookupError):
            attack(source, write_lines=first_lines)

    thread = threading.Thread(target=first)
    thread.start()
    try:
        assert started.wait(60)
        _, seen = attack(READ, workdirs[0], f"{workdirs[0]}/secret")
        if mode == Mode.USER:
            _, killed = attack(
                "import os\ntry: os.kill(int(os.sys.argv[1]), 9)\nexcept OSError: print('closed')",
                workdirs[1],
            )
            seen += killed
    finally:
        done.set()
        thread.join(20)
    assert set(seen) == {"closed"}
    assert not list(Path("/tmp").glob(f"left-{Path(workdirs[0]).name}"))  # noqa: S108  # everybody's


@pytest.fixture
def workdir_in_a_pod(tmp_path):
    """A directory of a run, in a temporary directory as Kubernetes makes them."""
    tmp_path.chmod(0o777)
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives programs users of their own")
def test_a_program_moves_no_directory_of_others_in_a_temporary_directory_that_is_everybodys(workdir_in_a_pod):
    held = Holder(Sandbox(Mode.USER, has_accounts=True), first_uid=own_uids(), uids=UIDS)
    with held.hold(workdir_in_a_pod, CancelToken()):
        assert workdir_in_a_pod.parent.stat().st_mode & 0o7777 == 0o1777


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives programs users of their own")
def test_where_it_could_move_them_no_program_is_started(workdir_in_a_pod, monkeypatch):
    def refused(path, _mode):
        raise PermissionError(path)

    monkeypatch.setattr(Path, "chmod", refused)
    held = Holder(Sandbox(Mode.USER, has_accounts=True), first_uid=own_uids(), uids=UIDS)
    with (
        pytest.raises(InvalidConfigurationError, match="sticky bit"),
        held.hold(workdir_in_a_pod, CancelToken()),
    ):
        pass


@EVERY
def test_variables_reach_no_loader_and_no_interpreter_while_it_starts(attack, tmp_path):
    """Even those that nobody refuses: they are set once the interpreter is on."""
    flag = tmp_path / "flag"
    env = {
        "LD_PRELOAD": "/nowhere/preload.so",
        "PYTHONWARNINGS": "all:0:antigravity.x:0:0",
        "PYTHONSTARTUP": "/nowhere",
        "PYTHONPATH": "/nowhere",
        "BROWSER": f"/bin/sh -c 'touch {flag}' %s",
        "GCONV_PATH": "/nowhere",
    }
    ended, lines = attack("import sys; print('on', 'antigravity' in sys.modules)", env=env)
    assert (ended.exit_code, lines) == (0, ["on False"])
    assert not flag.exists()


@pytest.mark.parametrize("mode", ["bubblewrap"])
def test_a_socket_of_the_workers_cannot_be_reached_and_the_network_can(attack, tmp_path):
    path = str(tmp_path / "socket")
    tmp_path.chmod(0o777)
    with socket.socket(socket.AF_UNIX) as server, socket.socket() as reachable:
        server.bind(path)
        server.listen()
        reachable.bind(("127.0.0.1", 0))
        reachable.listen()
        source = """
            import socket, sys
            try:
                socket.socket(socket.AF_UNIX).connect(sys.argv[1])
            except OSError:
                print("closed")
            socket.create_connection(("127.0.0.1", int(sys.argv[2]))).close()
            print("open")
        """
        _, lines = attack(source, path, reachable.getsockname()[1])
    assert lines == ["closed", "open"]


@EVERY
def test_it_works_below_a_worker_that_cannot_be_dumped(attack):
    libc = ctypes.CDLL(None)
    libc.prctl(4, 0)
    try:
        ended, lines = attack("print('on')")
    finally:
        libc.prctl(4, 1)
    assert (ended.exit_code, lines) == (0, ["on"])

"""Programs in control groups of the kernel's, where a test may make some."""

import os
import stat
import subprocess
import sys
import uuid
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from shared.structures import groups
from shared.structures.groups import Group
from tests.support.checkout import ROOT
from tests.support.sandboxes import holder
from tests.support.waiting import wait_until
from worker.cancellation import CancelToken
from worker.executors.program.runner import Job, Limits, run_program

BASE = Path("/sys/fs/cgroup/unified")
"""A hierarchy that kills, and limits nothing: its controllers are elsewhere."""

LIMITS = Limits(1 << 28, timedelta(seconds=5), 1 << 20, 20, 10_000, timedelta(seconds=1))

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not os.access(BASE / "cgroup.procs", os.W_OK), reason="no control groups to be had"),
]


@pytest.fixture(params=["bubblewrap", "user", "none"])
def run(request, monkeypatch, tmp_path):
    """Execute a source in a group; return how it ended and what it said."""
    held = holder(request.param)
    held = replace(held, sandbox=replace(held.sandbox, groups=BASE))
    write = groups._write
    monkeypatch.setattr(
        groups, "_write", lambda path, value: None if path.suffix == ".max" else write(path, value)
    )
    workdir = tmp_path / "workdir"
    workdir.mkdir()
    for above in (workdir, *workdir.parents[:3]):
        if not above.stat().st_mode & stat.S_IXOTH:  # /tmp itself keeps its mode, wherever pytest's base is
            above.chmod(0o755)

    def run(source):
        (workdir / "main.py").write_text(source, encoding="utf-8")
        lines = []
        ended = run_program(
            Job(["main.py"], workdir, {}, {"PATH": os.environ["PATH"]}),
            mark=f"{uuid.uuid4()}/1",
            holder=held,
            secrets={},
            workdir=workdir,
            limits=LIMITS,
            token=CancelToken(),
            write_lines=lines.extend,
        )
        return ended, [line.text for line in lines]

    return run


def test_it_executes_there_and_leaves_nothing(run, monkeypatch):
    monkeypatch.setattr(Group, "ran_out_of_memory", lambda _: False)
    seen = []
    end = Group.end
    monkeypatch.setattr(Group, "end", lambda group: (seen.append(group.path), end(group)))
    source = """
import os, subprocess
subprocess.Popen(["/bin/sleep", "50"], env={}, start_new_session=True)
print(open("/proc/self/cgroup").read().splitlines()[-1][:12])
"""
    ended, lines = run(source)
    assert ended.exit_code == 0
    # Inside bubblewrap its own group is all that a program sees of any.
    assert lines in (["0::/runyard-"], ["0::/"])
    assert len(seen) == 1
    assert not seen[0].exists()


def test_an_end_by_the_kernel_for_memory_is_told_as_one(run, monkeypatch):
    monkeypatch.setattr(Group, "ran_out_of_memory", lambda _: True)
    ended, _ = run("import os; os.kill(os.getpid(), 9)")
    assert "memory" in ended.message


WORKER = """
import os, sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from shared.structures import groups
from tests.support.sandboxes import holder
from worker.cancellation import CancelToken
from worker.executors.program.runner import Job, Limits, run_program

mode, mark, workdir, base = sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
write = groups._write
groups._write = lambda path, value: None if path.suffix == ".max" else write(path, value)
held = holder(mode)
run_program(
    Job(["main.py"], workdir, {}, {"PATH": os.environ["PATH"]}),
    mark=mark,
    holder=replace(held, sandbox=replace(held.sandbox, groups=base)),
    secrets={},
    workdir=workdir,
    limits=Limits(1 << 28, timedelta(seconds=60), 1 << 20, 20, 10_000, timedelta(seconds=1)),
    token=CancelToken(),
    write_lines=lambda lines: print(lines[0].text, flush=True),
)
"""


@pytest.mark.parametrize("mode", ["bubblewrap", "user", "none"])
def test_when_its_worker_dies_its_group_goes(mode, tmp_path):
    holder(mode)
    workdir, mark = tmp_path / "workdir", f"{uuid.uuid4()}/1"
    workdir.mkdir()
    for above in (workdir, *workdir.parents[:3]):
        if not above.stat().st_mode & stat.S_IXOTH:
            above.chmod(0o755)
    (workdir / "main.py").write_text("import time; print('ready'); time.sleep(600)", encoding="utf-8")
    group = BASE / f"runyard-{mark.replace('/', '-')}"
    command = [sys.executable, "-c", WORKER, mode, mark, str(workdir), str(BASE)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True) as worker:
        try:
            assert worker.stdout.readline() == "ready\n"
            assert group.exists()
        finally:
            worker.kill()
    wait_until(lambda: not workdir.exists(), timeout=60, what="its directory to be gone")
    wait_until(lambda: not group.exists(), timeout=20, what="its group to be gone")

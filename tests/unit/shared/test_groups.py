"""Control groups of programs, on files as the kernel has them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from shared.structures import groups, sandbox
from shared.structures.groups import Group, find_base, lent_group

KERNEL = Path("/sys/fs/cgroup/unified")
"""Where a group that can kill may be had even if none can limit."""


def a_group(path, *, controllers="cpu memory pids"):
    os.makedirs(path)  # noqa: PTH103  # the very thing that is stood in for
    for name in ("cgroup.procs", "cgroup.kill", "cgroup.subtree_control", "memory.max", "pids.max"):
        (path / name).touch()
    for name in ("memory.swap.max", "memory.oom.group"):
        (path / name).touch()
    (path / "cgroup.controllers").write_text(controllers)
    (path / "memory.events").write_text("low 0\nhigh 0\nmax 3\noom 0\noom_kill 0\n")
    return path


@pytest.fixture
def base(tmp_path, monkeypatch):
    """A group of the kernel's in which groups come with their files, and go with them."""
    made = a_group(tmp_path / "top")
    monkeypatch.setattr(Path, "mkdir", a_group)
    monkeypatch.setattr(Path, "rmdir", remove)
    return made


def remove(path):
    shutil.rmtree(path)


def test_a_program_has_a_limit_of_memory_and_of_processes(base):
    with lent_group(base, "x", memory=1000, processes=7) as group:
        assert group.path == base / "runyard-x"
        said = {
            name: (group.path / name).read_text() for name in ("memory.max", "pids.max", "memory.swap.max")
        }
        assert said == {"memory.max": "1000", "pids.max": "7", "memory.swap.max": "0"}
        assert (group.path / "memory.oom.group").read_text() == "1"
        group.take(123)
        assert (group.path / "cgroup.procs").read_text() == "123"
        assert not group.ran_out_of_memory()
        (group.path / "memory.events").write_text("max 3\noom 1\noom_kill 1\noom_group_kill 1\n")
        assert group.ran_out_of_memory()
    assert not (base / "runyard-x").exists()


def test_a_group_is_killed_before_it_goes(base, monkeypatch):
    said = []
    monkeypatch.setattr(
        Path, "rmdir", lambda path: said.append((path / "cgroup.kill").read_text(encoding="ascii"))
    )
    with lent_group(base, "x", memory=1000, processes=7):
        pass
    assert said == ["1"]


def test_without_a_base_there_is_no_group():
    with lent_group(None, "x", memory=1, processes=1) as group:
        assert group is None


def process_in(tmp_path, own, *, kind="cgroup2"):
    (tmp_path / "process").mkdir()
    (tmp_path / "process" / "mountinfo").write_text(
        "1 0 0:1 / / rw - ext4 /dev/x rw\n"
        f"2 1 0:2 / {tmp_path / 'top'} rw,nosuid shared:9 - {kind} {kind} rw\n"
    )
    (tmp_path / "process" / "cgroup").write_text(f"5:memory:/other\n0::{own}\n")
    return tmp_path / "process"


@pytest.mark.parametrize(
    ("own", "names"),
    [("/", ["top"]), ("/worker", ["worker", "top"]), ("/a/worker", ["worker"])],
    ids=["topmost", "below the topmost", "below a group that is not ours"],
)
def test_groups_are_looked_for_in_ones_own_and_above_it_only_where_that_is_ours(tmp_path, own, names):
    assert [path.name for path in groups._candidates(process_in(tmp_path, own))] == names


def test_groups_are_made_above_ones_own_where_that_is_handed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(groups, "getxattr", lambda path, _: b"1" if path.name == "a.service" else b"")
    process = process_in(tmp_path, "/system.slice/a.service/worker")
    assert [path.name for path in groups._candidates(process)] == ["worker", "a.service"]


def test_version_1_has_no_groups_for_us(tmp_path):
    assert groups._candidates(process_in(tmp_path, "/", kind="cgroup")) == []


def test_a_base_without_the_controllers_does_not_do(tmp_path):
    assert not groups._works(a_group(tmp_path / "top", controllers="cpu io"))


def test_a_base_that_does_not_kill_does_not_do(base, monkeypatch):
    monkeypatch.setattr(groups, "REMOVAL_TIMEOUT", 0.1)
    assert not groups._works(base)


@pytest.mark.parametrize("base", [None, Path("/groups")])
def test_the_choice_of_a_sandbox_says_whether_there_are_groups(monkeypatch, base):
    monkeypatch.setattr(sandbox, "find_base", lambda: base)
    choice = sandbox._choose.__wrapped__("none", 1, 1)
    assert choice.sandbox.groups == base
    assert (sandbox.GROUPED in choice.description) is (base is not None)


@pytest.mark.skipif(not (KERNEL / "cgroup.procs").exists(), reason="no cgroup v2 beside others")
def test_a_real_group_kills_all_that_is_in_it():
    group = Group(KERNEL / "runyard-test-group")
    try:
        group.path.mkdir()
    except OSError:
        pytest.skip("no right to make groups")
    with subprocess.Popen(
        ["/bin/sh", "-c", "read line; setsid sleep 60 & wait"], stdin=subprocess.PIPE
    ) as process:
        group.take(process.pid)
        process.stdin.write(b"\n")
        process.stdin.close()
        group.end()
        assert process.wait(timeout=60) == -9
    assert not group.path.exists()


def test_what_is_found_here_is_a_group_or_none():
    found = find_base()
    assert found is None or (found / "cgroup.procs").exists()

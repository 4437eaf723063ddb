"""Pulses: what a process shows of its life is there for others while it lives, and for nobody else."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shared.processes.pulse import (
    DIRECTORY,
    SUFFIX,
    Fact,
    Kind,
    Limits,
    Part,
    Pulse,
    health_directory,
    own_directory,
    read_pulses,
)
from tests.support.checkout import ROOT

OTHER = """
import os, sys, time
from shared.processes.pulse import Fact, Kind, Limits, Pulse
pulse = Pulse.open(Kind.WORKER, "other", Limits(turn=9, alive=5), queues=["p:runs"])
pulse[Fact.SLOTS] = 4
print("shown", flush=True)
sys.stdin.read()
"""
LIMITS = Limits(turn=9)


@pytest.fixture
def directory(tmp_path, monkeypatch):
    monkeypatch.setenv(DIRECTORY, str(tmp_path / "health"))
    return tmp_path / "health"


@pytest.fixture
def other(directory):
    """Another process with a pulse."""
    with subprocess.Popen(
        [sys.executable, "-c", OTHER],
        cwd=ROOT,
        env={**os.environ, DIRECTORY: str(directory)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"shown\n"
        yield process
        process.kill()


def test_another_process_is_read_with_what_it_shows(directory, other):
    (reading,) = read_pulses(directory, Kind.WORKER)
    assert (reading.kind, reading.part, reading.name) == (Kind.WORKER, Part.PROCESS, "other")
    assert (reading.pid, reading.queues) == (other.pid, ("p:runs",))
    assert reading.limits == Limits(turn=9, alive=5)
    assert reading[Fact.SLOTS] == 4
    assert reading[Fact.CREATED] > 0
    assert reading[Fact.TURN] == 0
    assert read_pulses(directory, Kind.API) == []


def test_a_stopped_process_counts_as_living_and_a_killed_one_does_not(directory, other):
    other.send_signal(signal.SIGSTOP)
    assert [reading.pid for reading in read_pulses(directory, Kind.WORKER)] == [other.pid]
    other.kill()
    other.wait()
    assert read_pulses(directory, Kind.WORKER) == []
    assert len(list(directory.iterdir())) == 1


def test_the_next_process_removes_the_files_of_dead_ones_and_of_no_others(directory, other):
    dead = directory / f"worker-1-dead{SUFFIX}"
    dead.write_bytes(b"")
    pulse = Pulse.open(Kind.RECONCILER, "mine", LIMITS)
    assert not dead.exists()
    assert len(read_pulses(directory, Kind.WORKER)) == len(read_pulses(directory, Kind.RECONCILER)) == 1
    pulse.close()
    assert read_pulses(directory, Kind.RECONCILER) == []


def test_a_file_is_no_pulse_before_it_is_locked(directory, monkeypatch):
    """Another process that starts would remove it."""
    names = []
    monkeypatch.setattr(fcntl, "flock", lambda *_: names.extend(path.suffix for path in directory.iterdir()))
    Pulse.open(Kind.API, "mine", LIMITS).close()
    assert names == [".new"]


def test_a_worker_of_very_many_queues_is_read(directory):
    queues = tuple(f"tenant-{number:03}-of-a-large-installation" for number in range(500))
    pulse = Pulse.open(Kind.WORKER, "many", LIMITS, queues=queues)
    try:
        pulse[Fact.SLOTS] = 4
        (reading,) = read_pulses(directory, Kind.WORKER)
        assert (reading.queues, reading[Fact.SLOTS]) == (queues, 4)
    finally:
        pulse.close()


def test_a_pulse_for_which_there_is_no_room_leaves_no_file(directory, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        Pulse.open(Kind.WORKER, "full", LIMITS)
    assert list(directory.iterdir()) == []


def test_a_supervisor_shows_since_when_it_lacks_a_process():
    pulse = Pulse.unseen()
    pulse.turn(lacks_process=True)
    since = pulse[Fact.MISSING]
    pulse.turn(lacks_process=True)
    assert 0 < since == pulse[Fact.MISSING] <= pulse[Fact.TURN]
    pulse.turn(lacks_process=False)
    assert pulse[Fact.MISSING] == 0


def test_a_fork_leaves_the_pulse_of_its_parent_alone(directory):
    pulse = Pulse.open(Kind.API, "mine", LIMITS)
    if (child := os.fork()) == 0:
        pulse.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert len(read_pulses(directory, Kind.API)) == 1
    pulse.close()


def test_there_is_a_directory_for_every_user():
    assert health_directory({}).name == f"runyard-{os.geteuid()}"
    assert health_directory({DIRECTORY: "/somewhere/else"}) == Path("/somewhere/else")


def test_a_directory_that_others_can_write_to_is_refused(tmp_path):
    tmp_path.chmod(0o777)
    with pytest.raises(PermissionError, match="only this user"):
        own_directory(tmp_path)
    link = tmp_path / "link"
    (tmp_path / "real").mkdir(mode=0o700)
    link.symlink_to(tmp_path / "real")
    with pytest.raises(PermissionError, match="only this user"):
        own_directory(link)

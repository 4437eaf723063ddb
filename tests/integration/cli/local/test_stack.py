"""Supervision of real processes: restart, report, stop, and nothing left behind."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from cli.local.processes import child, lineage
from cli.local.processes.child import Command, is_alive
from cli.local.stack import Program, Stack
from tests.support.waiting import wait_until

SLEEP = "import signal; print('up', flush=True); signal.pause()"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEP
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}]); " + SLEEP


@pytest.fixture
def program(tmp_path):
    def make(name="sleeper", code=SLEEP, patience=5.0):
        command = Command([sys.executable, "-c", code], tmp_path / f"{name}.log", dict(os.environ))
        return Program(name, command, ((signal.SIGTERM, patience),))

    return make


@pytest.fixture
def exits():
    return []


@pytest.fixture
def stack(exits):
    with Stack(report=exits.append) as running:
        yield running


def is_up(member, lines=1):
    return wait_until(lambda: child.tail(member.log_path).count("up") >= lines, what="the program is up")


def test_a_member_that_died_is_reported_and_started_again(stack, program, exits):
    sleeper = program()
    stack.launch(sleeper)
    is_up(sleeper)
    first = sleeper.process
    first.kill()
    wait_until(stack.check)
    assert sleeper.process.pid != first.pid
    assert [(ended.name, ended.why, ended.log_tail) for ended in exits] == [("sleeper", "SIGKILL", "up")]
    assert not stack.check()


def test_a_member_that_keeps_dying_is_started_ever_later(stack, program, exits):
    stack.launch(program(code="raise SystemExit(7)"))
    wait_until(lambda: stack.check() or len(exits) >= 3)
    wait_until(lambda: (stack.check(), len(exits) >= 3)[1])
    assert [ended.count for ended in exits] == [1, 2, 3]
    assert [ended.restart_in for ended in exits] == [0.25, 0.5, 1.0]
    assert {ended.why for ended in exits} == {"exit code 7"}
    assert stack.exits == exits[-1:]


def test_one_that_cannot_be_started_again_is_tried_again(stack, program, exits, monkeypatch):
    sleeper = program()
    stack.launch(sleeper)
    sleeper.process.kill()

    def refuse(_command):
        raise OSError("no more processes")

    with monkeypatch.context() as patched:
        patched.setattr(child, "spawn", refuse)
        wait_until(lambda: (stack.check(), len(exits) >= 2)[1])
    assert "no more processes" in exits[-1].why
    wait_until(stack.check)
    is_up(sleeper)


def test_a_later_stage_is_stopped_first(program, exits):
    order = []
    with Stack(report=exits.append) as stack:
        for name in ("first", "second"):
            member = program(name)
            stop = member.stop
            member.stop = lambda name=name, stop=stop: (order.append(name), stop())
            stack.launch(member)
    assert order == ["second", "first"]
    assert exits == []


def test_a_failing_start_stops_what_was_started(program, exits, tmp_path):
    sleeper = program()
    nowhere = Program("nowhere", Command(["x"], tmp_path / "no" / "log", {}), ())
    with pytest.raises(FileNotFoundError), Stack(report=exits.append) as stack:
        stack.launch(sleeper, nowhere)
    assert sleeper.process.poll() is not None


def test_what_ignores_the_request_to_stop_is_killed(program):
    stubborn = program(code=STUBBORN, patience=0.2)
    stubborn.launch()
    is_up(stubborn)
    stubborn.stop()
    assert child.describe_exit(stubborn.process) == "SIGKILL"


def test_what_a_program_leaves_behind_is_killed_with_it(program):
    parent = program(code=PARENT)
    parent.launch()
    is_up(parent, lines=2)
    (offspring,) = child.descendants(parent.process.pid)
    parent.stop()
    wait_until(lambda: not is_alive(offspring))


def test_a_log_keeps_its_predecessor(tmp_path):
    log = tmp_path / "x.log"
    for text in ("one", "two"):
        child.set_aside(log)
        log.write_text(text)
    assert (log.read_text(), (tmp_path / "x.log.old").read_text()) == ("two", "one")


OWNER = """
import os, sys
from pathlib import Path
from cli.local.processes import child, lineage

with lineage.no_orphans():
    sleep = child.Command([sys.executable, "-c", sys.argv[2]], Path(sys.argv[1]), dict(os.environ))
    process = child.spawn(sleep)
    print(process.pid, flush=True)
    sys.stdin.read()
    process.kill()
    process.wait()
"""


def start_owner(tmp_path, code):
    log = tmp_path / "owned.log"
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(log), code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    owned = psutil.Process(int(owner.stdout.readline()))
    wait_until(lambda: child.tail(log).count("up") == code.count("pause"))
    return owner, [owned, *owned.children()]


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells children on Linux only")
def test_a_child_does_not_outlive_a_parent_that_is_killed(tmp_path):
    owner, family = start_owner(tmp_path, SLEEP)
    owner.kill()
    owner.communicate()
    wait_until(lambda: not any(map(is_alive, family)))


@pytest.mark.skipif(sys.platform != "linux", reason="orphans are adopted on Linux only")
def test_the_orphans_of_a_child_that_was_killed_are_ended(tmp_path):
    owner, family = start_owner(tmp_path, PARENT)
    assert len(family) == 2
    owner.communicate()
    wait_until(lambda: not any(map(is_alive, family)))


def test_our_other_children_are_left_alone():
    with subprocess.Popen([sys.executable, "-c", SLEEP], stdout=subprocess.PIPE) as bystander:
        bystander.stdout.readline()
        with lineage.no_orphans():
            """Nothing is started in here."""
        assert bystander.poll() is None
        bystander.kill()

"""A scenario that fails or hangs costs its own figures only, and the whole is bounded in time."""

import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from bench import session as sessions
from bench.figures import Figure, TimeIsUpError
from bench.plant import NotClearedError
from bench.session import Scenario, Session, Site, broken_off, share
from tests.support.checkout import ROOT
from tests.support.faults import lives
from tests.support.waiting import wait_until


class Stacks:
    """Stands for the stacks that a session starts."""

    def __init__(self):
        self.started = 0
        self.stopped = 0
        self.unclean: set[int] = set()

    @contextmanager
    def running(self, *_: object, **__: object):
        self.started += 1
        try:
            yield self
        finally:
            self.stopped += 1

    def clear(self):
        if self.started in self.unclean:
            raise NotClearedError("3 runs have not stopped")


@pytest.fixture
def stacks(monkeypatch: pytest.MonkeyPatch):
    stacks = Stacks()
    monkeypatch.setattr(sessions, "running_plant", stacks.running)
    return stacks


def good(plant, within):
    yield Figure("good", "n", "ms", (1.0,))


def bad(plant, within):
    yield Figure("bad", "first half", "ms", (1.0,))
    raise TimeoutError("17 of 200 runs are RUNNING after 30 s")


def endless(plant, within):
    while True:
        time.sleep(0.01)
    yield


def measured(*scenarios: Scenario, seconds: float = 100.0) -> Session:
    session = Session(seconds)
    session.measure([Site((), {}, scenarios)], Path("unused"))
    return session


def test_a_failure_keeps_its_first_figures_and_says_its_reason(stacks):
    session = measured(Scenario("bad", bad, 1))
    assert [figure.name for figure in session.figures] == ["first half", "did not finish"]
    assert session.figures[-1].note == "17 of 200 runs are RUNNING after 30 s"
    assert session.failed == ["bad"]


def test_the_scenarios_after_a_failure_get_another_stack(stacks):
    session = measured(Scenario("bad", bad, 1), Scenario("good", good, 1), Scenario("better", good, 1))
    assert [figure.name for figure in session.figures].count("n") == 2
    assert (stacks.started, stacks.stopped) == (2, 2)


def test_a_stack_that_cannot_be_cleared_is_replaced_and_costs_no_figures(stacks):
    stacks.unclean = {1}
    session = measured(Scenario("good", good, 1), Scenario("better", good, 1))
    assert session.failed == []
    assert stacks.started == 2


def test_a_scenario_that_hangs_is_broken_off(stacks, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sessions, "GRACE", 0.1)
    session = measured(Scenario("endless", endless, 0.1), Scenario("good", good, 0.1))
    assert session.failed == ["endless"]
    assert any(figure.name == "n" for figure in session.figures)


def test_a_stack_that_does_not_start_fails_one_scenario_at_a_time(stacks, monkeypatch: pytest.MonkeyPatch):
    @contextmanager
    def broken(*_, **__):
        raise ChildProcessError("no stack")
        yield

    monkeypatch.setattr(sessions, "running_plant", broken)
    session = measured(Scenario("good", good, 1), Scenario("better", good, 1))
    assert session.failed == ["good", "better"]


def test_after_the_end_of_the_session_nothing_is_measured(stacks):
    session = measured(Scenario("good", good, 1), seconds=0)
    assert session.failed == ["good"]
    assert session.figures[0].note == "the time of the session was over"


def test_time_is_shared_out_by_what_each_asks_for():
    first, second = Scenario("a", good, 30), Scenario("b", good, 10)
    assert share(100, first, [first, second]) == 30
    assert share(20, first, [first, second]) == 15
    assert share(-1, first, [first, second]) == 0


def test_a_block_that_is_quick_is_not_broken_off():
    with broken_off(30):
        pass
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_an_event_loop_is_broken_off_as_well():
    code = (
        "import asyncio; from bench import load; from bench.session import broken_off;"
        "from bench.figures import TimeIsUpError\n"
        "try:\n  with broken_off(0.2): load.run(asyncio.sleep(60))\n"
        "except TimeIsUpError: print('over')"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, timeout=60
    )
    assert (told.stdout, told.returncode) == (b"over\n", 0), told.stderr


def test_sigterm_ends_the_bench_and_what_it_has_started(tmp_path):
    code = (
        "import signal, subprocess, sys, time; from bench.__main__ import stop\n"
        "from pathlib import Path; from cli.local.processes import child; import os\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "process = child.spawn(child.Command([sys.executable, '-c', 'import time; time.sleep(60)'],"
        " Path(sys.argv[1], 'log'), dict(os.environ)))\n"
        "print(process.pid, flush=True)\n"
        "try: time.sleep(60)\n"
        "finally: child.stop(process, ((signal.SIGTERM, 5.0),))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as bench:
        below = int(bench.stdout.readline())
        bench.terminate()
        assert bench.wait(30) == 1
    wait_until(
        lambda: not (psutil.pid_exists(below) and lives(psutil.Process(below))), what="the end of the child"
    )


def test_being_broken_off_is_an_exit_that_event_loops_let_through():
    assert issubclass(TimeIsUpError, SystemExit)

"""How the tests are distributed, in what order they are executed, and what ends with whom."""

import gc
import os
import re
from collections.abc import Generator
from typing import Any

import hypothesis
import pytest

from shared.processes.garbage import load_unsearched, settle_garbage
from tests.support.keeping import KEPT, Kept
from tests.support.scheduling import LaneScheduling, lane_of, rank

WAITING_PROCESSES = 3  # most of the time, most tests wait for other processes

# How long one example takes says more of what else the machine does than of the code.
hypothesis.settings.register_profile("any-machine", deadline=None)
hypothesis.settings.load_profile("any-machine")

load_unsearched()  # tests and what they import are a million objects that stay


def pytest_configure(config: pytest.Config) -> None:
    """Load the fixtures, except where the tests are only distributed: they import half of the product."""
    is_distributing = getattr(config.option, "dist", "no") != "no" and config.option.tx
    if not is_distributing:  # nor where `--dist` is given without processes
        config.pluginmanager.import_plugin("tests.fixtures")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LaneScheduling:
    """Distribute the tests over the processes of `pytest -n`."""
    return LaneScheduling(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return what `-n auto` means: a process a core, and more for tests that mostly wait."""
    cores = min(len(os.sched_getaffinity(0)), 4)
    is_computing = all(re.search("tests/(unit|repository)", path) for path in config.args)
    return cores if is_computing else cores + WAITING_PROCESSES


def pytest_sessionstart(session: pytest.Session) -> None:
    """Keep what a lane's tests share."""
    session.stash[KEPT] = Kept()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None]:
    """End what a lane's tests share after the last of them, and not at the end of the process."""
    try:
        return (yield)
    finally:
        if nextitem is None or lane_of(nextitem.nodeid) != lane_of(item.nodeid):
            item.session.stash[KEPT].end()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest groups first, in whatever order their tests are."""
    items.sort(key=lambda item: rank(item.nodeid))


def pytest_collection_finish() -> None:
    """Spare the garbage collector what is loaded by now and stays: it is most of the objects there are."""
    settle_garbage()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Accept a selection by mark that leaves no test: not every folder has a `quiet` one."""
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and session.config.option.markexpr:
        session.exitstatus = pytest.ExitCode.OK
    gc.collect()  # what pytest looks for, once; it and the interpreter's end do so four times more
    gc.freeze()

"""The slot of a run that has its process to itself: signals mean what they should."""

import os
import signal
from collections.abc import Generator

import pytest

from shared.lifecycle import StoppedHow
from worker.cancellation import StopReason
from worker.process.prefork import DRAIN_SIGNAL, ignore_drain_signal, process_slot


@pytest.fixture(autouse=True)
def _own_signals() -> Generator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, DRAIN_SIGNAL)}
    ignore_drain_signal()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_terminate_fires_the_token_and_ends_the_process_after_the_run() -> None:
    came_to_its_end = False
    with pytest.raises(SystemExit), process_slot() as slot:
        os.kill(os.getpid(), signal.SIGTERM)
        assert slot.token.wait(30)
        came_to_its_end = True
    assert came_to_its_end
    assert slot.token.reason is StopReason.CANCELLED


def test_drain_fires_the_token_and_the_process_lives() -> None:
    with process_slot() as slot:
        os.kill(os.getpid(), DRAIN_SIGNAL)
        assert slot.token.wait(30)
    assert slot.token.reason is StopReason.DRAINED


def test_signals_have_their_former_meaning_between_runs() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with process_slot():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
    os.kill(os.getpid(), DRAIN_SIGNAL)  # ignored


def test_last_resort_is_the_death_of_the_process() -> None:
    pid = os.fork() if hasattr(os, "fork") else pytest.skip("no fork")
    if pid == 0:
        with process_slot() as slot:
            slot.abandon()
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    with process_slot() as slot:
        assert slot.last_resort is StoppedHow.KILLED

"""Each thread that a worker cannot do without has the process replaced when it dies."""

import os
import signal
import socket
import threading

import pytest

from shared.vitals import Vitals
from worker import ladder as ladders
from worker import lifeline
from worker.cancellation import CancelToken, RunStopped, StopReason
from worker.ladder import Ladder
from worker.prefork import process_seat
from worker.presence import Presence


@pytest.fixture
def watched(monkeypatch):
    """Have a module's threads watched by vitals of the test's own; return these, and their word."""

    def watched(module):
        vitals, told = Vitals(), threading.Event()
        vitals.on_death(told.set)
        monkeypatch.setattr(f"{module}.vitals", vitals)
        return vitals, told

    return watched


def die(*_, **__):
    raise RuntimeError("broken")


def test_presence(watched):
    vitals, told = watched("worker.presence")
    presence = Presence("blue", die, pause=1)  # no error of a database
    presence.start()
    assert told.wait(5)
    assert vitals.dead == ("presence",)
    presence.close()


def test_lifeline(watched, monkeypatch):
    vitals, told = watched("worker.lifeline")
    monkeypatch.setattr(lifeline, "_watch", die)
    near, far = socket.socketpair()
    lifeline.hold(os.dup(near.fileno()))
    assert told.wait(5)
    assert vitals.dead == ("lifeline",)
    for line in (lifeline._line, near, far):
        line.close()
    monkeypatch.setattr(lifeline, "_line", None)


def test_the_way_to_stop_a_run_that_does_not(watched, monkeypatch):
    vitals, told = watched("worker.ladder")
    monkeypatch.setattr(ladders, "_raise_in", die)
    token = CancelToken()

    def work():
        token.cancel(StopReason.CANCELLED)
        assert told.wait(5)

    Ladder(token, grace=0.1, give_up=lambda: None).watch(work)
    assert vitals.dead == ("ladder",)


def test_the_way_to_stop_a_run_in_a_child(watched, monkeypatch):
    vitals, told = watched("worker.prefork")
    monkeypatch.setattr("worker.prefork._tell", die)
    with process_seat():
        assert told.wait(5)
    assert vitals.dead == ("seat",)
    assert signal.getsignal(signal.SIGTERM) is not None


def test_one_that_stops_a_run_goes_on_after_it(watched):
    vitals, told = watched("worker.ladder")
    token = CancelToken()

    def work():
        token.cancel(StopReason.CANCELLED)
        token.raise_if_cancelled()

    with pytest.raises(RunStopped):
        Ladder(token, grace=5, give_up=lambda: None).watch(work)
    assert not told.is_set()
    assert vitals.dead == ()

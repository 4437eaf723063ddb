"""Each thread that a worker cannot do without has the process replaced when it dies."""

import os
import signal
import socket
import threading

import pytest

from shared.processes.vitals import Vitals
from worker.attempt import interruption
from worker.attempt.interruption import Interrupter
from worker.cancellation import CancelToken, RunStopped, StopReason
from worker.process import supervisor_link
from worker.process.prefork import process_slot
from worker.process.presence import Presence


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
    vitals, told = watched("worker.process.presence")
    presence = Presence("blue", die, interval=1)  # no error of a database
    presence.start()
    assert told.wait(30)
    assert vitals.dead == ("presence",)
    presence.close()


def test_supervisor_link(watched, monkeypatch):
    vitals, told = watched("worker.process.supervisor_link")
    monkeypatch.setattr(supervisor_link, "_watch", die)
    near, far = socket.socketpair()
    supervisor_link.hold(os.dup(near.fileno()))
    assert told.wait(30)
    assert vitals.dead == ("supervisor link",)
    for line in (supervisor_link._link, near, far):
        line.close()
    monkeypatch.setattr(supervisor_link, "_link", None)


def test_the_way_to_stop_a_run_that_does_not(watched, monkeypatch):
    vitals, told = watched("worker.attempt.interruption")
    monkeypatch.setattr(interruption, "_raise_in", die)
    token = CancelToken()

    def work():
        token.cancel(StopReason.CANCELLED)
        assert told.wait(30)

    Interrupter(token, grace=0.1, give_up=lambda: None).watch(work)
    assert vitals.dead == ("interrupter",)


def test_the_way_to_stop_a_run_in_a_child(watched, monkeypatch):
    vitals, told = watched("worker.process.prefork")
    monkeypatch.setattr("worker.process.prefork._fire", die)
    with process_slot():
        assert told.wait(30)
    assert vitals.dead == ("slot",)
    assert signal.getsignal(signal.SIGTERM) is not None


def test_one_that_stops_a_run_goes_on_after_it(watched):
    vitals, told = watched("worker.attempt.interruption")
    token = CancelToken()

    def work():
        token.cancel(StopReason.CANCELLED)
        token.raise_if_cancelled()

    with pytest.raises(RunStopped):
        Interrupter(token, grace=5, give_up=lambda: None).watch(work)
    assert not told.is_set()
    assert vitals.dead == ()

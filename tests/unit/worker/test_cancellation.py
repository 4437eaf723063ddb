"""The token and the interrupter."""

import subprocess
import sys
import threading
import time

import pytest

from shared.lifecycle import StoppedHow
from worker.attempt import interruption
from worker.attempt.interruption import Interrupter
from worker.cancellation import CancelToken, RunStopped, StopReason
from worker.executors.policy import DEFAULT_POLICY, Policy

PATIENCE = 60
IMPATIENT = Policy(cooperative_share=0.005)
"""Code is interrupted at once, and has nearly all of its grace after that."""


def test_the_first_reason_stays():
    token = CancelToken()
    assert token.cancel(StopReason.CANCELLED)
    assert not token.cancel(StopReason.DRAINED)
    assert token.reason is StopReason.CANCELLED


def test_callbacks_are_called_once_and_only_inside_their_block():
    token, calls = CancelToken(), []
    with token.on_cancel(lambda: calls.append("left")):
        pass
    with token.on_cancel(lambda: calls.append("inside")):
        token.cancel(StopReason.CANCELLED)
        token.cancel(StopReason.CANCELLED)
    with token.on_cancel(lambda: calls.append("late")):
        pass
    assert calls == ["inside", "late"]


def test_a_callback_that_fails_does_not_keep_others_from_being_called():
    token, calls = CancelToken(), []

    def fail():
        raise ValueError

    with token.on_cancel(fail), token.on_cancel(lambda: calls.append(1)):
        token.cancel(StopReason.CANCELLED)
    assert calls == [1]


def climb(work, *, grace, policy=DEFAULT_POLICY):
    """Do `work` under an interrupter in a thread of its own, firing its token once it has begun."""
    token, begun, seen = CancelToken(), threading.Event(), {}
    gave_up = threading.Event()

    def in_thread():
        interrupter = seen["interrupter"] = Interrupter(
            token, grace=grace, give_up=gave_up.set, policy=policy
        )
        try:
            seen["result"] = interrupter.watch(lambda: work(begun, token))
        except RunStopped:
            seen["stopped"] = True

    thread = threading.Thread(target=in_thread, daemon=True)
    thread.start()
    assert begun.wait(PATIENCE)
    token.cancel(StopReason.CANCELLED)
    return thread, seen, gave_up


def test_code_that_sees_the_token_ends_cooperatively():
    def work(begun, token):
        begun.set()
        token.wait()
        return "done"

    thread, seen, _ = climb(work, grace=5)
    thread.join(PATIENCE)
    assert seen["result"] == "done"
    assert seen["interrupter"].how is StoppedHow.COOPERATIVE


def test_a_busy_loop_is_interrupted():
    def work(begun, token):
        begun.set()
        while True:
            pass

    thread, seen, gave_up = climb(work, grace=20, policy=IMPATIENT)
    thread.join(PATIENCE)
    assert seen["stopped"]
    assert seen["interrupter"].how is StoppedHow.INTERRUPTED
    assert not gave_up.is_set()


def test_code_that_swallows_the_first_interrupt_meets_another(monkeypatch):
    def work(begun, token):
        begun.set()
        try:
            while True:
                pass
        except RunStopped:
            while True:
                pass

    monkeypatch.setattr(interruption, "INTERRUPT_INTERVAL", 0.1)
    thread, seen, gave_up = climb(work, grace=20, policy=IMPATIENT)
    thread.join(PATIENCE)
    assert seen["stopped"]
    assert not gave_up.is_set()


def test_code_that_never_stops_is_given_up_within_the_grace():
    release = threading.Event()

    def work(begun, token):
        begun.set()
        while not release.is_set():
            try:
                release.wait(0.01)
            except RunStopped:
                continue

    thread, seen, gave_up = climb(work, grace=0.3)
    assert gave_up.wait(PATIENCE)
    assert seen["interrupter"].gave_up
    release.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_nothing_is_raised_in_the_thread_after_the_work():
    token = CancelToken()
    interrupter = Interrupter(
        token, grace=0.1, give_up=lambda: pytest.fail("gave up on work that had returned")
    )

    def work():
        token.cancel(StopReason.CANCELLED)
        return "answer"

    assert interrupter.watch(work) == "answer"
    time.sleep(0.3)  # longer than the grace: an interrupter still armed would raise at its end


PROFILED = """
import cProfile
from worker.cancellation import CancelToken, RunStopped, StopReason
from worker.attempt.interruption import Interrupter

def interrupted():
    token.cancel(StopReason.CANCELLED)
    while True:
        pass

token = CancelToken()
assert Interrupter(CancelToken(), grace=1, give_up=exit).watch(lambda: 1) == 1
try:
    Interrupter(token, grace=1, give_up=exit).watch(interrupted)
except RunStopped:
    pass
profile = cProfile.Profile()
profile.enable()
sum(map(abs, range(1000)))
CancelToken()
profile.disable()
print("went on")
"""


def test_the_interpreter_is_left_as_it_was():
    """A pending exception taken back by a null pointer kept CPython 3.11 in its slow path for good."""
    done = subprocess.run(
        [sys.executable, "-c", PROFILED], check=False, capture_output=True, text=True, timeout=30
    )
    assert done.stdout.strip() == "went on", done.stderr


def test_an_import_is_not_broken_in_the_middle(tmp_path, monkeypatch):
    """Half a module would stay in the process: every later run that needs it would fail."""
    slow = (
        "import time\nend = time.monotonic() + 0.4\nwhile time.monotonic() < end:\n    pass\nwhole = True\n"
    )
    (tmp_path / "imported_slowly.py").write_text(slow)
    monkeypatch.syspath_prepend(tmp_path)
    seen = {}

    def work(begun, _token):
        begun.set()
        import imported_slowly  # noqa: PLC0415  # late, as provider libraries are

        seen["whole"] = imported_slowly.whole
        while True:
            pass

    thread, seen_of_interrupter, gave_up = climb(work, grace=20, policy=IMPATIENT)
    thread.join(PATIENCE)
    assert seen == {"whole": True}
    assert seen_of_interrupter["interrupter"].how is StoppedHow.INTERRUPTED
    assert not gave_up.is_set()

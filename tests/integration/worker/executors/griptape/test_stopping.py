"""How a run ends that is to stop, wherever it is at that moment."""

import ctypes
import socket
import time
from types import SimpleNamespace

import pytest

from worker.cancellation import CancelToken, RunStopped, StopReason
from worker.executors.griptape import model_driver
from worker.executors.griptape.connections import model_connections

PROVIDERS = ["openai", "anthropic", "ollama", "azure-openai", "cohere", "google", "amazon-bedrock"]
AT_ONCE = 10.0  # seconds, on a machine however busy; at most half of what any of these would take


def stop(running) -> float:
    """Cancel; return the seconds until the run's code has ended."""
    begun = time.monotonic()
    running.token.cancel(StopReason.CANCELLED)
    assert running.has_ended(within=30)
    return time.monotonic() - begun


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_hanging_model_call_ends_at_once(stub, execution, provider) -> None:
    running = execution(f"{provider}/hang").start()
    assert stub.records.wait_for(lambda records: bool(records.requests), 30)

    took = stop(running)

    assert isinstance(running.outcome, RunStopped)
    assert took < AT_ONCE
    assert stub.records.wait_for(lambda records: records.left_early == 1 and records.open_connections == 0)


@pytest.mark.parametrize("provider", ["openai", "anthropic", "ollama"])
def test_an_answer_that_hangs_half_way_ends_at_once(stub, execution, provider) -> None:
    running = execution(f"{provider}/hang-midstream").start()
    assert running.wait_for("TextChunkEvent")

    took = stop(running)

    assert isinstance(running.outcome, RunStopped)
    assert took < AT_ONCE
    assert stub.records.wait_for(lambda records: records.open_connections == 0)


def test_a_streaming_answer_ends_between_two_chunks(stub, execution) -> None:
    running = execution("openai/words-1000-30").start()
    assert running.wait_for("TextChunkEvent")

    took = stop(running)

    assert isinstance(running.outcome, RunStopped)
    assert took < AT_ONCE
    assert "FinishPromptEvent" not in running.types


def test_a_wait_for_the_next_attempt_ends_at_once(stub, execution, monkeypatch) -> None:
    monkeypatch.setattr(model_driver, "FIRST_RETRY_INTERVAL", 25)
    running = execution("openai/status-503", options={"model_attempts": 100}).start()
    assert stub.records.wait_for(lambda records: len(records.requests) == 1, 20)

    assert stop(running) < AT_ONCE
    assert isinstance(running.outcome, RunStopped)


def test_a_paced_echo_ends_at_once(execution) -> None:
    running = execution("echo", "a b c", options={"echo_words_per_second": 0.01}).start()
    assert running.wait_for("TextChunkEvent")

    assert stop(running) < AT_ONCE
    assert isinstance(running.outcome, RunStopped)


def test_a_run_that_is_to_stop_already_asks_nothing(stub, execution) -> None:
    late = execution("openai/words-3")
    late.token.cancel(StopReason.DRAINED)

    assert isinstance(late.run().outcome, RunStopped)
    assert stub.records.requests == []


def test_an_exception_raised_in_its_thread_ends_a_run(stub, execution) -> None:
    running = execution("openai/words-1000-30").start()
    assert running.wait_for("TextChunkEvent")

    raised = ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(running.thread.ident), ctypes.py_object(RunStopped)
    )

    assert raised == 1
    assert running.has_ended(within=AT_ONCE)
    assert isinstance(running.outcome, RunStopped)


def test_an_emit_that_stops_the_run_is_not_swallowed(stub, execution) -> None:
    running = execution("openai/words-3")
    running.emit = _stopping_at(running.emit, "TextChunkEvent")

    assert isinstance(running.run().outcome, RunStopped)
    assert len(stub.records.requests) == 1


def _stopping_at(emit, event_type):
    def stopping(event) -> None:
        if event.type == event_type:
            raise RunStopped
        emit(event)

    return stopping


def test_no_connection_outlives_its_run(stub, execution) -> None:
    execution("openai/words-3").run()

    assert stub.records.wait_for(lambda records: records.open_connections == 0)


def test_a_connection_made_too_late_is_shut_as_well() -> None:
    token = CancelToken()
    request = SimpleNamespace(extensions={})
    here, there = socket.socketpair()
    with here, there, model_connections(token, silence=30) as connections:
        connections._watch(request)
        token.cancel(StopReason.CANCELLED)

        stream = SimpleNamespace(get_extra_info={"socket": here}.get)
        request.extensions["trace"]("connection.connect_tcp.complete", {"return_value": stream})

        assert there.recv(1) == b""

"""The export of spans by the real exporter, to a collector that answers and to one that does not."""

import threading
import time
import uuid

import pytest

from shared import tracing, tracing_otlp
from shared.settings import Settings
from shared.tracing import AttemptTrace, Kind, Span, TraceContext, new_span_id
from tests.support.collector import Collector
from tests.support.waiting import wait_until

TRACE = "0af7651916cd43dd8448eb211c80319c"
URLS = {"database_url": "postgresql://u:p@h/d", "redis_url": "redis://h"}
TIMEOUT = 30.0  # seconds, many times what is needed


@pytest.fixture
def collector():
    with Collector() as running:
        yield running


@pytest.fixture
def recorder(collector):
    settings = Settings.model_validate({**URLS, "traces_endpoint": f"{collector.url}/v1/traces"})
    made = tracing_otlp.make(settings, process="worker", worker="blue")
    yield made
    made.close(0.1)


def a_span(name="one", **fields):
    return Span(name, TraceContext(TRACE, new_span_id(), is_recorded=True), ended_at=time.time_ns(), **fields)


def test_a_span_arrives_as_it_was_measured(recorder, collector):
    link = TraceContext("ab" * 16, "cd" * 8)
    sent = a_span(
        parent_id="ef" * 8,
        kind=Kind.CLIENT,
        attributes={"text": "x" * 100_000, "words": ["stop"], "count": 3},
        links=(link,),
        error="TimeoutError",
    )
    recorder.record(sent)
    recorder.record(root := a_span("root"))
    recorder.close(TIMEOUT)
    seen, seen_root = collector.of_trace(TRACE)
    assert (seen.span_id, seen.parent_id, seen.kind) == (sent.context.span_id, "ef" * 8, "CLIENT")
    assert (seen.started_at, seen.ended_at) == (sent.started_at, sent.ended_at)
    assert (seen_root.span_id, seen_root.parent_id) == (root.context.span_id, None)
    assert seen.links == (("ab" * 16, "cd" * 8),)
    assert (seen.is_error, seen_root.is_error) == (True, False)
    assert len(seen.attributes.pop("text")) == tracing_otlp.MAX_LENGTH
    assert seen.attributes == {"words": ["stop"], "count": 3, "error.type": "TimeoutError"}
    assert seen.service == "runyard-worker"


def test_a_collector_that_hangs_holds_nobody_up_and_fills_no_memory(recorder, collector):
    with collector.hanging():
        done = threading.Event()
        attributes = {f"name-{number}": "x" * 1_000 for number in range(20)}

        def flood():
            for _ in range(2_000):  # some 40 MB
                recorder.record(a_span(attributes=attributes))
            done.set()

        threading.Thread(target=flood, daemon=True).start()
        assert done.wait(TIMEOUT)
        assert recorder._room._bytes <= tracing_otlp.MAX_WAITING
        assert 0 < recorder._room.spans < 2_000
        begun = time.monotonic()
        recorder.close(0.2)
        assert time.monotonic() - begun < TIMEOUT / 3  # the exporter itself would wait for longer


def test_once_a_collector_answers_again_there_is_room_again(recorder, collector):
    with collector.hanging():
        recorder.record(a_span("lost"))
        wait_until(lambda: collector.requests, timeout=TIMEOUT, what="an export that hangs")
    recorder.record(a_span("later"))
    wait_until(
        lambda: any(span.name == "later" for span in collector.spans), timeout=TIMEOUT, what="the later span"
    )
    wait_until(lambda: recorder._room.spans == 0, timeout=TIMEOUT, what="nothing to wait")
    assert recorder._room._bytes == 0


def test_a_collector_that_is_not_there_ends_nothing(recorder, collector):
    collector.__exit__()
    recorder.record(a_span())
    recorder.close(0.2)


def test_a_span_that_cannot_be_made_is_logged_and_ends_nothing(recorder, collector):
    recorder.record(Span("bad", TraceContext("no hex", "no hex", is_recorded=True)))
    recorder.record(a_span())
    recorder.close(TIMEOUT)
    assert [span.name for span in collector.spans] == ["one"]


def test_a_process_with_a_collector_records_the_attempts_of_its_runs(collector):
    settings = Settings.model_validate({**URLS, "traces_endpoint": collector.url})
    tracing.start(settings, process="reconciler")
    try:
        run = uuid.uuid4()
        trace = AttemptTrace(run, 1, None)
        trace.scope.record("claim", time.time_ns())
        trace.end(time.time_ns())
    finally:
        tracing.close(TIMEOUT)
    assert sorted(span.name for span in collector.of_trace(run.hex)) == ["claim", "run attempt"]
    assert not tracing.is_on()

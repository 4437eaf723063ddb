"""Places in traces: what of a caller counts, what is recorded, and how much of it."""

import contextvars
import threading
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import tracing
from shared.processes.failures import sentence_of
from shared.settings import Settings
from shared.tracing import (
    MAX_HEADER,
    MAX_SPANS,
    AttemptTrace,
    Rates,
    RequestTrace,
    TraceContext,
    TracingUnavailableError,
    current_traceparent,
    demand_exporter,
    span_id_of,
)

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEADER = f"00-{TRACE}-{SPAN}-01"
RUN, TENANT = uuid.UUID(int=7), uuid.UUID(int=8)
URLS = {"database_url": "postgresql://u:p@h/d", "redis_url": "redis://h"}


class Recorder:
    """Keeps what it is given."""

    def __init__(self):
        self.spans = []

    def record(self, span):
        self.spans.append(span)

    def close(self, timeout):
        """Nothing waits."""


@pytest.fixture
def recorder():
    def use(**values):
        made = Recorder()
        tracing.use(made, Settings.model_validate({**URLS, **values}))
        return made

    yield use
    tracing.close()


@pytest.mark.parametrize(
    "header",
    [HEADER, f"00-{TRACE}-{SPAN}-00", f"01-{TRACE}-{SPAN}-01-what-comes-later", f"cc-{TRACE}-{SPAN}-ff"],
)
def test_a_place_is_read(header):
    place = TraceContext.parse(header)
    assert (place.trace_id, place.span_id) == (TRACE, SPAN)
    assert place.is_recorded == (not header.endswith("00"))


@pytest.mark.parametrize(
    "header",
    [
        *(
            None,
            "",
            "00",
            HEADER.upper(),
            f" {HEADER}",
            f"{HEADER}\n",
            f"{HEADER}-more",
            f"ff-{TRACE}-{SPAN}-01",
        ),
        *(
            f"00-{'0' * 32}-{SPAN}-01",
            f"00-{TRACE}-{'0' * 16}-01",
            f"00-{TRACE}-{SPAN}",
            f"00-{TRACE}x-{SPAN}-01",
        ),
        f"01-{TRACE}-{SPAN}-01-{'x' * MAX_HEADER}",
        f"00-{'٣' * 32}-{SPAN}-01",
    ],
)
def test_a_malformed_place_is_none(header):
    assert TraceContext.parse(header) is None


@given(st.text(max_size=80))
def test_any_text_is_read_or_is_none(header):
    place = TraceContext.parse(header)
    assert place is None or TraceContext.parse(place.traceparent) == place


def test_without_a_collector_a_run_keeps_its_callers_trace_and_else_nothing():
    assert RequestTrace(HEADER, joins=True).traceparent() == f"00-{TRACE}-{SPAN}-00"
    assert RequestTrace(HEADER, joins=True).trace_id == TRACE
    for request in (RequestTrace(None, joins=True), RequestTrace(HEADER, joins=False)):
        assert (request.traceparent(), request.trace_id) == (None, None)


def test_the_flag_of_a_caller_decides_nothing_and_who_has_no_key_is_not_recorded(recorder):
    kept = recorder()
    for flag, is_admitted in (("01", False), ("00", True)):
        request = RequestTrace(f"00-{TRACE}-{SPAN}-{flag}", joins=True)
        if is_admitted:
            request.admit(TENANT)
        assert request.traceparent().endswith("-01") == is_admitted
        request.end("POST /x", {"http.route": "/x", "runyard.run.id": None})
    (recorded,) = kept.spans
    assert (recorded.context.trace_id, recorded.parent_id) == (TRACE, SPAN)
    assert recorded.attributes == {"http.route": "/x"}


def test_a_request_that_created_nothing_is_not_recorded(recorder):
    kept = recorder()
    request = RequestTrace(HEADER, joins=True)
    request.admit(TENANT)
    request.end("GET /x", {})
    assert kept.spans == []


def test_who_only_reads_takes_nothing_of_the_rate_of_traces(recorder):
    """A caller that asks for its run a hundred times a second had no trace of the next run."""
    recorder(traces_rate=0.001)
    for _ in range(100):
        request = RequestTrace(HEADER, joins=True)
        request.admit(TENANT)
        request.end("GET /x", {})
    request = RequestTrace(HEADER, joins=True)
    request.admit(TENANT)
    assert request.traceparent().endswith("-01")
    assert request.traceparent().endswith("-01")  # a second run of the same request


def test_callers_that_are_only_linked_join_no_trace(recorder):
    kept = recorder()
    request = RequestTrace(HEADER, joins=False)
    request.admit(TENANT)
    assert TRACE not in request.traceparent()
    assert request.trace_id != TRACE
    request.end("POST /x", {})
    (recorded,) = kept.spans
    assert recorded.parent_id is None
    assert [(link.trace_id, link.span_id) for link in recorded.links] == [(TRACE, SPAN)]


def test_a_tenant_has_a_rate_and_takes_none_of_anothers():
    rates = Rates(1.0, 0.001)  # a burst of one, and the next in a quarter of an hour
    assert [rates.take(TENANT) for _ in range(3)] == [True, False, False]
    assert rates.take(uuid.UUID(int=9))
    assert not any(Rates(0.0, 100).take(TENANT) for _ in range(100))


def test_many_tenants_take_bounded_memory(monkeypatch):
    monkeypatch.setattr(tracing, "MAX_TENANTS", 3)
    rates = Rates(1.0, 1)
    for number in range(10):
        assert rates.take(uuid.UUID(int=number))
    assert len(rates._left) == 3


def test_spans_hang_below_each_other_and_an_error_has_only_its_type(recorder):
    kept = recorder()
    trace = AttemptTrace(RUN, 2, HEADER)
    with trace.entered():
        raised = pytest.raises(ValueError, match="planted")
        with raised, tracing.span("outer") as outer, tracing.span("inner"):
            outer.set(gen_ai__tool__name="t", left_out=None)
            assert current_traceparent().startswith(f"00-{TRACE}-")
            raise ValueError("planted")
        assert current_traceparent() == f"00-{TRACE}-{span_id_of(RUN, 2)}-01"
    trace.end(1, runyard__run__attempt=2)
    inner, outer, attempt = kept.spans
    assert (attempt.context.span_id, attempt.parent_id) == (span_id_of(RUN, 2), SPAN)
    assert [link.span_id for link in attempt.links] == [span_id_of(RUN, 1)]
    assert (outer.parent_id, inner.parent_id) == (attempt.context.span_id, outer.context.span_id)
    assert outer.attributes == {"gen_ai.tool.name": "t"}
    assert (outer.error, inner.error) == ("ValueError", "ValueError")


def test_a_run_outside_any_trace_has_one_of_its_own_id(recorder):
    trace = AttemptTrace(RUN, 1, None)
    assert trace.trace_id == RUN.hex
    assert not trace.scope.context.is_recorded  # nothing is on
    kept = recorder()
    AttemptTrace(RUN, 1, None).end(1)
    AttemptTrace(RUN, 1, f"00-{TRACE}-{SPAN}-00").end(1)  # decided against where it began
    (recorded,) = kept.spans
    assert (recorded.parent_id, recorded.links) == (None, ())


def test_the_spans_of_an_attempt_are_bounded_and_the_last_one_tells(recorder):
    kept = recorder()
    trace = AttemptTrace(RUN, 1, HEADER)
    with trace.entered():
        for _ in range(MAX_SPANS + 5):
            with tracing.span("one"):
                pass
    trace.end(1)
    assert len(kept.spans) == MAX_SPANS + 1
    assert kept.spans[-1].attributes == {"runyard.spans_dropped": 5}


def test_a_copied_context_brings_the_place_into_another_thread(recorder):
    kept = recorder()
    trace = AttemptTrace(RUN, 1, HEADER)

    def work():
        with tracing.span("elsewhere"):
            pass

    with trace.entered():
        thread = threading.Thread(target=contextvars.copy_context().run, args=(work,))
        thread.start()
        thread.join()
    work()  # outside it, nothing is recorded
    assert [span.name for span in kept.spans] == ["elsewhere"]


def test_a_collector_without_the_extra_stops_the_start(monkeypatch):
    settings = Settings.model_validate({**URLS, "traces_endpoint": "http://collector:4318"})
    demand_exporter(settings)
    monkeypatch.setattr(tracing, "_EXTRA", ("opentelemetry.sdk.trace", "nowhere.at.all"))
    with pytest.raises(TracingUnavailableError, match="needs the extra `otel`"):
        demand_exporter(settings)
    demand_exporter(Settings.model_validate(URLS))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"traces_endpoint": "collector:4318"}, "RUNYARD_TRACES_ENDPOINT: must be http://host:port"),
        ({"traces_headers": "no-value"}, "RUNYARD_TRACES_HEADERS: must be name=value"),
        ({"traces_headers": "a b=c"}, "RUNYARD_TRACES_HEADERS: must be name=value"),
        ({"traces_share": 1.5}, "RUNYARD_TRACES_SHARE"),
        ({"traces_rate": 0}, "RUNYARD_TRACES_RATE"),
        ({"traces_callers": "maybe"}, "RUNYARD_TRACES_CALLERS"),
    ],
)
def test_bad_settings_stop_the_start_with_a_sentence(values, sentence):
    with pytest.raises(ValueError, match=r"(?s).*") as raised:
        Settings.model_validate({**URLS, **values})
    assert sentence in sentence_of(raised.value)


def test_headers_of_the_collector_are_decoded():
    settings = Settings.model_validate({**URLS, "traces_headers": "authorization=Bearer%20x%3D, team=a"})
    assert settings.traces_header_fields == {"authorization": "Bearer x=", "team": "a"}

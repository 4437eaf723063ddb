"""Traces of runs, from the request through all processes, as a collector gets them."""

import json
import secrets

import psutil
import pytest

from tests.support.waiting import wait_until

pytestmark = [pytest.mark.full_length, pytest.mark.timeout(300)]

CONTENT = "planted-words-of-a-user"


@pytest.fixture(scope="module")
def stack(telling_stack):
    return telling_stack


def caller():
    """The place of a caller in a trace: the header, the trace and the span."""
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    return {"traceparent": f"00-{trace_id}-{span_id}-00"}, trace_id, span_id


def trace_with(collector, trace_id, *names):
    """The spans of a trace, once there are spans of these names."""

    def complete():
        spans = collector.of_trace(trace_id)
        return spans if {*names} <= {span.name for span in spans} else None

    return wait_until(complete, timeout=60, pause=0.1, what=f"spans {names} of {trace_id}")


def only(spans, name):
    (one,) = [span for span in spans if span.name == name]
    return one


def attempts_of(spans):
    found = [span for span in spans if span.name == "run attempt"]
    return sorted(found, key=lambda span: span.attributes["runyard.run.attempt"])


def test_a_run_is_one_trace_from_the_request_of_its_caller_to_its_end(stack, collector):
    headers, trace_id, span_id = caller()
    assistant = stack.create_assistant(model="openai/words-5")
    url = f"/api/assistants/{assistant}/runs"
    run_id = stack.client.post(url, json={"input": CONTENT}, headers=headers).json()["assistant_run_id"]
    stack.wait_for(run_id)
    spans = trace_with(collector, trace_id, "run attempt", "POST /assistants/{assistant_id}/runs")

    request = only(spans, "POST /assistants/{assistant_id}/runs")
    assert (request.kind, request.service, request.parent_id) == ("SERVER", "runyard-api", span_id)
    assert request.attributes["http.response.status_code"] == 201
    assert request.attributes["runyard.run.id"] == run_id
    queue, attempt = only(spans, "queue"), only(spans, "run attempt")
    assert {queue.parent_id, attempt.parent_id} == {request.span_id}
    assert (attempt.kind, attempt.service, attempt.links) == ("CONSUMER", "runyard-worker", ())
    assert attempt.attributes["runyard.run.id"] == run_id
    assert attempt.attributes["runyard.run.ending"] == "succeeded"
    assert attempt.attributes["gen_ai.agent.id"] == assistant
    for name in ("claim", "chat words-5", "store events", "store end"):
        (below, *_) = [span for span in spans if span.name == name]
        assert below.parent_id == attempt.span_id, name
        assert attempt.started_at <= below.started_at <= below.ended_at <= attempt.ended_at, name
    chat = only(spans, "chat words-5")
    assert chat.kind == "CLIENT"
    assert chat.attributes["gen_ai.operation.name"] == "chat"
    assert chat.attributes["gen_ai.provider.name"] == "openai"
    assert chat.attributes["gen_ai.request.model"] == "words-5"
    assert chat.attributes["gen_ai.response.finish_reasons"] == ["stop"]
    assert chat.attributes["gen_ai.usage.input_tokens"] > 0
    assert chat.attributes["gen_ai.usage.output_tokens"] > 0
    assert len({span.span_id for span in spans}) == len(spans)
    assert CONTENT not in json.dumps([[span.name, span.attributes] for span in collector.spans])
    assert {headers["x-planted"] for headers in collector.headers} == {"of the collector"}


def test_the_trace_of_a_run_is_its_trace_id_for_watsonx_and_in_all_log_lines(stack, collector):
    headers, trace_id, _ = caller()
    body = {"agent_id": stack.create_assistant(), "message": {"role": "user", "content": "Hi"}}
    made = stack.client.post("/v1/orchestrate/runs", json=body, headers=headers).json()
    stack.wait_for(made["run_id"])
    assert stack.client.get(f"/v1/orchestrate/runs/{made['run_id']}").json()["trace_id"] == trace_id
    spans = trace_with(collector, trace_id, "run attempt", "POST /orchestrate/runs")
    assert only(spans, "run attempt").parent_id == only(spans, "POST /orchestrate/runs").span_id

    def lines():
        found = [json.loads(line) for line in stack.logs.splitlines() if trace_id in line]
        return found if any(line["event"] == "run attempt ended" for line in found) else None

    found = wait_until(lines, timeout=60, pause=0.2, what="the lines of the run")
    assert {"api", "worker"} <= {line["process"] for line in found}
    assert all(line["trace_id"] == trace_id for line in found)


def test_a_run_without_a_caller_in_a_trace_begins_one(stack, collector):
    run_id = stack.create_run()
    stack.wait_for(run_id)
    trace_id = stack.client.get(f"/v1/orchestrate/runs/{run_id}").json()["trace_id"]
    spans = trace_with(collector, trace_id, "run attempt", "POST /assistants/{assistant_id}/runs")
    assert only(spans, "POST /assistants/{assistant_id}/runs").parent_id is None


def test_a_structure_that_is_called_as_a_tool_hangs_below_its_call(stack, collector):
    headers, trace_id, _ = caller()
    structure = stack.client.post("/api/structures", json={"name": "sample"}).json()["structure_id"]
    assistant = stack.create_assistant(model="openai/tool", structure_ids=[structure])
    url = f"/api/assistants/{assistant}/runs"
    run_id = stack.client.post(url, json={"input": "Hi"}, headers=headers).json()["assistant_run_id"]
    stack.wait_for(run_id, timeout=60)

    def both():
        spans = collector.of_trace(trace_id)
        return spans if len(attempts_of(spans)) == 2 else None

    spans = wait_until(both, timeout=60, pause=0.1, what="both attempts")
    (tool,) = [span for span in spans if span.name.startswith("execute_tool ")]
    assert tool.attributes["gen_ai.operation.name"] == "execute_tool"
    by_kind = {span.attributes["runyard.run.kind"]: span for span in attempts_of(spans)}
    assert tool.parent_id == by_kind["assistant"].span_id
    assert by_kind["structure"].parent_id == tool.span_id
    assert len([span for span in spans if span.name == "chat tool"]) == 2


def test_each_attempt_is_linked_to_the_one_before_it(stack, collector):
    """The worker of the first is killed: the reconciler records what it did not live to record."""
    headers, trace_id, _ = caller()
    assistant = stack.create_assistant(model="openai/words-40-100")
    url = f"/api/assistants/{assistant}/runs"
    run_id = stack.client.post(url, json={"input": "Hi"}, headers=headers).json()["assistant_run_id"]
    stack.wait_for(run_id, "RUNNING")
    victims = [one for one in stack.children("worker") if "worker.process.process" in " ".join(one.cmdline())]
    assert victims
    for victim in victims:
        victim.kill()
    psutil.wait_procs(victims, timeout=60)
    stack.wait_for(run_id, "SUCCEEDED", timeout=90)

    def both():
        found = attempts_of(collector.of_trace(trace_id))
        return found if len(found) == 2 else None

    first, second = wait_until(both, timeout=60, pause=0.1, what="both attempts")
    assert first.attributes["runyard.run.ending"] == "lost"
    assert (first.service, first.is_error) == ("runyard-reconciler", True)
    assert second.attributes["runyard.run.ending"] == "succeeded"
    assert second.links == ((trace_id, first.span_id),)
    assert first.parent_id == second.parent_id
    request = only(collector.of_trace(trace_id), "POST /assistants/{assistant_id}/runs")
    assert first.parent_id == request.span_id


def test_a_collector_that_hangs_slows_no_run(stack, collector):
    assistant = stack.create_assistant()
    with collector.hanging():
        seen = collector.requests
        runs = [stack.create_run(assistant, input="Hi") for _ in range(20)]
        wait_until(lambda: collector.requests > seen, timeout=60, what="an export that hangs")
        for run_id in [*runs, stack.create_run(assistant, input="Hi")]:
            assert stack.wait_for(run_id, timeout=60)["status"] == "SUCCEEDED"

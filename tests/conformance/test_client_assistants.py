"""The generated client: assistants, their runs and the events of those."""

import datetime as dt
import json
import uuid

import pytest

pytestmark = pytest.mark.timeout(300)

LISTS = ("knowledge_base_ids", "retriever_ids", "ruleset_ids", "structure_ids", "tool_ids")


@pytest.fixture
def assistant(new):
    return new("assistant", name="The librarian", model="openai/words-5")


@pytest.fixture
def finished(stack, new, assistant):
    """The id of a run that has succeeded."""
    run = new("assistant_run", assistant.assistant_id, args=["Poo-tee-weet?"], stream=True)
    stack.wait_for(run.assistant_run_id, "SUCCEEDED")
    return run.assistant_run_id


def test_the_life_of_an_assistant(api, new):
    ruleset_id = new("ruleset", name="Manners").ruleset_id
    assistant = new("assistant", name="Billy", description="Of this test", ruleset_ids=[ruleset_id])
    assert assistant.ruleset_ids == [ruleset_id]
    assert all(getattr(assistant, name) == [] for name in LISTS if name != "ruleset_ids")
    identifier = assistant.assistant_id
    changed = api.call("update_assistant", identifier, body=api.body("update_assistant", name="Kilgore"))
    assert (changed.name, changed.description) == ("Kilgore", "Of this test")
    assert changed.ruleset_ids == [ruleset_id]
    assert changed.updated_at > changed.created_at
    assert api.call("get_assistant", identifier).to_dict() == changed.to_dict()
    api.call("delete_assistant", identifier)
    api.refused(404, "get_assistant", identifier)


def test_assistants_are_listed_newest_first(api, new):
    older, newer = (new("assistant", name=name).assistant_id for name in ("older", "newer"))
    listed = api.call("list_assistants", page=1, page_size=2)
    assert [assistant.assistant_id for assistant in listed.assistants] == [newer, older]
    assert all(isinstance(assistant, api.models.AssistantDetail) for assistant in listed.assistants)
    assert listed.pagination.total_pages >= 1


def test_numbers_of_a_query_may_be_floats(api, assistant):
    listed = api.call("list_assistants", page=1.0, page_size=1.0)
    assert [each.assistant_id for each in listed.assistants] == [assistant.assistant_id]


def test_a_run_from_its_request_to_its_result(api, assistant, finished):
    run = api.call("get_assistant_run", finished)
    assert run.status is api.models.AssistantRunStatus.SUCCEEDED
    assert run.assistant_id == assistant.assistant_id
    assert run.args == ["Poo-tee-weet?"]
    assert run.stream is True
    assert isinstance(run.completed_at, dt.datetime)
    assert run.output["type"] == "TextArtifact"
    assert run.output["value"].split() == [f"word{n}" for n in range(5)]


def test_a_run_that_is_accepted_has_not_ended(api, new, assistant):
    run = new("assistant_run", assistant.assistant_id, input="Hi", model="openai/hang")
    assert run.status in set(api.models.AssistantRunStatus)
    assert run.completed_at is None
    assert run.input_ == "Hi"
    assert "output" not in run.to_dict()
    assert all(getattr(run, name) == [] for name in LISTS)
    api.call("cancel_assistant_run", run.assistant_run_id)


def test_every_list_of_a_run_is_taken_and_answered(new, assistant):
    own, added = (new("ruleset", name=name).ruleset_id for name in ("own", "added"))
    run = new(
        "assistant_run",
        assistant.assistant_id,
        ruleset_ids=[own],
        additional_ruleset_ids=[added],
        args=["Hi"],
    )
    assert run.ruleset_ids == [own, added]


def test_a_new_thread_is_named_by_the_run(api, new, assistant):
    run = new("assistant_run", assistant.assistant_id, new_thread=True, args=["Hi"])
    assert api.call("get_thread", run.thread_id).thread_id == run.thread_id
    again = new("assistant_run", assistant.assistant_id, new_thread=True, thread_id=run.thread_id)
    assert again.thread_id == run.thread_id


def test_a_run_can_be_cancelled(api, stack, new, assistant):
    run = new("assistant_run", assistant.assistant_id, model="openai/hang", args=["Hi"])
    run_id = run.assistant_run_id
    assert isinstance(api.call("cancel_assistant_run", run_id).status, api.models.AssistantRunStatus)
    stack.wait_for(run_id, "CANCELLED")
    run = api.call("get_assistant_run", run_id)
    assert run.status is api.models.AssistantRunStatus.CANCELLED
    again = api.call("cancel_assistant_run", run_id)
    assert (again.status, again.completed_at) == (run.status, run.completed_at)


@pytest.fixture
def two_ends(stack, new, assistant):
    """The ids of a run that failed and of one that succeeded after it, of one assistant."""
    ends = {"FAILED": "openai/status-400", "SUCCEEDED": "openai/words-5"}
    run_ids = []
    for status, model in ends.items():
        run = new("assistant_run", assistant.assistant_id, model=model, args=["Hi"])
        stack.wait_for(run.assistant_run_id, status)
        run_ids.append(run.assistant_run_id)
    return run_ids


def test_runs_are_listed_newest_first_and_by_status(api, assistant, two_ends):
    def ids(**query):
        listed = api.call("list_assistant_runs", assistant.assistant_id, **query)
        assert all(isinstance(run, api.models.AssistantRunDetail) for run in listed.assistant_runs)
        assert listed.pagination.total_count >= len(listed.assistant_runs)
        return [run.assistant_run_id for run in listed.assistant_runs]

    failed, succeeded = two_ends
    status = api.models.AssistantRunStatus
    assert ids() == [succeeded, failed]
    assert ids(page=2, page_size=1) == [failed]
    assert ids(status=[status.FAILED]) == [failed]
    assert ids(status=[status.FAILED, status.SUCCEEDED]) == [succeeded, failed]
    assert ids(status=[status.QUEUED]) == []


def test_statuses_may_be_one_word_with_commas(api, stack, assistant, two_ends):
    answer = stack.client.get(
        f"/api/assistants/{assistant.assistant_id}/runs", params={"status": "FAILED,SUCCEEDED"}
    )
    result = api.models.ListAssistantRunsResponseContent.from_dict(answer.json())
    assert [run.assistant_run_id for run in result.assistant_runs] == two_ends[::-1]


def test_events_are_listed_by_offset(api, finished):
    first = api.call("list_assistant_events", finished, limit="3")
    assert (first.count, first.limit, first.offset, first.next_offset) == (3, 3, 0, 3)
    assert all(isinstance(event, api.models.AssistantEventDetail) for event in first.events)
    rest = api.call("list_assistant_events", finished, offset=str(first.next_offset))
    assert rest.events[-1].type_ == "AssistantRunCompleted"
    assert first.count + rest.count == first.total_count == rest.next_offset
    end = api.call("list_assistant_events", finished, offset=f"{rest.next_offset}.0")
    assert (end.events, end.count, end.next_offset) == ([], 0, rest.next_offset)


def test_an_event_can_be_read_alone(api, finished):
    for event in api.call("list_assistant_events", finished).events:
        read = api.call("get_event", event.event_id)
        assert read.structure_run_id is None
        assert read.to_dict() == {**event.to_dict(), "structure_run_id": None}


def test_the_stream_is_text_that_holds_the_events(api, finished):
    stream = api.call_text("get_assistant_run_events_sse", finished)
    streamed = [json.loads(line[5:]) for line in stream.splitlines() if line.startswith("data:")]
    listed = api.call("list_assistant_events", finished).events
    assert [event["event_id"] for event in streamed] == [event.event_id for event in listed]
    finish = [event for event in streamed if event["type"] == "FinishStructureRunEvent"]
    assert [event["payload"]["output_task_output"]["value"].split()[0] for event in finish] == ["word0"]


@pytest.mark.parametrize(
    ("operation", "field"),
    [
        ("create_assistant", "ruleset_ids"),
        ("update_assistant", "ruleset_ids"),
        ("create_assistant_run", "ruleset_ids"),
        ("create_assistant_run", "additional_ruleset_ids"),
    ],
)
def test_a_ruleset_that_does_not_exist_is_a_400_that_names_it(api, assistant, operation, field):
    missing = str(uuid.uuid4())
    of = [] if operation == "create_assistant" else [assistant.assistant_id]
    name = {} if operation == "create_assistant_run" else {"name": "x"}
    refusal = api.refused(400, operation, *of, body=api.body(operation, **name, **{field: [missing]}))
    assert refusal.type_ == "BadRequest"
    assert missing in refusal.errors[0]["message"]

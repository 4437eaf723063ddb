"""Events and artifacts as clients read them."""

import inspect
import json
from typing import Any

import attrs
import pytest
from griptape import events
from griptape.artifacts import (
    ActionArtifact,
    ErrorArtifact,
    ImageArtifact,
    InfoArtifact,
    JsonArtifact,
    ListArtifact,
    TextArtifact,
)
from griptape.common import PromptStack, Reference, ToolAction
from griptape.events import BaseEvent

from worker.executors.griptape.payloads import event_payload, output_payload

ACTION = ToolAction(tag="call_1", name="Calculator", path="calculate", input={"values": {"x": 1}})
ARTIFACTS = [
    TextArtifact("text", meta={"a": [1, None]}, reference=Reference(title="A book", year="1843")),
    ListArtifact([TextArtifact("a"), ListArtifact([TextArtifact("b")])]),
    JsonArtifact({"a": [1, 2.5, None]}),
    ActionArtifact(ACTION),
    ImageArtifact(b"\x00\xff", format="png", width=1, height=1),
    ErrorArtifact("it broke", exception=ValueError("it broke")),
    InfoArtifact("nothing found"),
]


def prompt_stack() -> PromptStack:
    stack = PromptStack()
    stack.add_system_message("Be brief.")
    for artifact in ARTIFACTS:
        stack.add_user_message(artifact)
    return stack


VALUES: dict[str, Any] = {
    "images_info": ["an image"],
    "index": 3,
    "input_token_count": 5,
    "negative_prompts": [],
    "output_token_count": None,
    "prompts": ["a prompt", "another"],
    "task_child_ids": ["a"],
    "task_parent_ids": [],
}


def concrete_events() -> list[type[BaseEvent]]:
    classes = [each for _, each in inspect.getmembers(events, inspect.isclass) if issubclass(each, BaseEvent)]
    return [each for each in classes if not each.__name__.startswith("Base")]


def make(event_class: type[BaseEvent], artifact: Any) -> BaseEvent:
    values: dict[str, Any] = {}
    for attribute in attrs.fields(event_class):
        if attribute.name in {"id", "timestamp", "meta", "type", "module_name"}:
            continue
        if attribute.name.endswith(("_input", "_output")):
            values[attribute.name] = artifact
        elif attribute.name == "prompt_stack":
            values[attribute.name] = prompt_stack()
        elif attribute.name == "subtask_actions":
            values[attribute.name] = [ACTION.to_dict()]
        else:
            values[attribute.name] = VALUES.get(attribute.name, f"a {attribute.name}")
    return event_class(**values)


def as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


@pytest.mark.parametrize("event_class", concrete_events(), ids=lambda each: each.__name__)
def test_a_payload_is_what_the_framework_writes_and_reads(event_class) -> None:
    for artifact in ARTIFACTS:
        event = make(event_class, artifact)

        payload = event_payload(event)

        assert as_json(payload) == as_json(event.to_dict())
        assert payload["type"] == event_class.__name__
        assert type(BaseEvent.from_dict(as_json(payload))) is event_class


def test_a_result_that_is_no_text_is_written_as_text() -> None:
    """A model that calls a tool and says something, too, gives a list of artifacts."""
    result = [TextArtifact("I look it up."), ActionArtifact(ACTION)]
    event = events.FinishPromptEvent(model="m", result=result, input_token_count=1, output_token_count=1)

    assert isinstance(event_payload(event)["result"], str)
    assert event_payload(event) == as_json(event.to_dict())


@pytest.mark.parametrize("artifact", ARTIFACTS, ids=lambda each: type(each).__name__)
def test_an_output_is_an_artifact_whose_value_is_text(artifact) -> None:
    payload = output_payload(artifact)

    assert set(payload) == {"type", "id", "reference", "meta", "name", "value"}
    assert isinstance(payload["value"], str)
    assert TextArtifact.from_dict(as_json(payload)).value == payload["value"]


def test_a_list_is_flattened_to_its_text() -> None:
    assert output_payload(ARTIFACTS[1])["value"] == "a\n\nb"
    assert output_payload(ListArtifact([]))["value"] == ""
    assert json.loads(output_payload(ARTIFACTS[2])["value"]) == {"a": [1, 2.5, None]}

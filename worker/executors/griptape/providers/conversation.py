"""The conversation of a model call, alike for all providers: made of the framework's messages."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from griptape.artifacts import ErrorArtifact
from griptape.common import (
    ActionCallMessageContent,
    ActionResultMessageContent,
    Message,
    PromptStack,
    TextMessageContent,
)

from worker.executors.griptape.providers.answer import mended, mended_text

_SCHEMA_NAMES: Final = ("$schema", "$id")
"""Of JSON schemas; several providers refuse them."""

_BETWEEN: Final = "\n\n"
_UNSAID: Final = "(nothing)"

_UNFIT: Final = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST_NAME: Final = 64  # characters of a tool's name


class Role(StrEnum):
    """The speaker of a turn."""

    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Called:
    """A call that the model made."""

    id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a call."""

    id: str
    name: str
    text: str
    is_error: bool


@dataclass(slots=True)
class Turn:
    """What one side said, without a turn of the other in between; a side's blank words are none."""

    role: Role
    text: str = ""
    calls: list[Called] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    echo: Any = None  # what the provider wants back with the calls, as its own module made it


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool that the model may call."""

    name: str
    description: str
    schema: dict[str, Any]

    def as_function(self) -> dict[str, Any]:
        """The tool in the form of OpenAI's API, which others have taken over."""
        function = {"name": self.name, "description": self.description, "parameters": self.schema}
        return {"type": "function", "function": function}


@dataclass(frozen=True, slots=True)
class Conversation:
    """Everything that a model call sends."""

    system: str
    turns: list[Turn]
    tools: list[ToolSpec]  # that the model may call
    barred: list[ToolSpec]  # that it could call before, and may no longer

    def with_system_said_by_user(self) -> "Conversation":
        """The same for a model that knows two sides only."""
        if not self.system:
            return self
        first, *rest = self.turns or [Turn(Role.USER)]
        said = replace(first, text=_BETWEEN.join(filter(None, (self.system, first.text))))
        return replace(self, system="", turns=[said, *rest])


def conversation(stack: PromptStack, echoes: Mapping[str, Any], *, with_tools: bool) -> Conversation:
    """Make the conversation.

    Two turns of one side are joined, since most providers refuse them; they stand where a turn between
    them was blank.

    Args:
        stack: the framework's messages.
        echoes: what is to go back, by the identifier of a turn's first call.
        with_tools: whether the model may call tools.
    """
    turns: list[Turn] = []
    for message in stack.messages:
        if message.is_system():
            continue
        turn = _turn(message, echoes)
        if not (turn.text or turn.calls or turn.results):
            continue
        last = turns[-1] if turns else None
        if last and last.role == turn.role and not (last.calls or turn.calls or turn.results):
            last.text = _BETWEEN.join(filter(None, (last.text, turn.text)))
        else:
            turns.append(turn)
    if turns and turns[0].role is Role.ASSISTANT:  # most providers demand that the user begins
        turns.insert(0, Turn(Role.USER, _UNSAID))
    tools = []
    for tool in stack.tools:
        for activity in tool.activities():
            schema = tool.to_activity_json_schema(activity, "Parameters")
            parameters = {key: value for key, value in schema.items() if key not in _SCHEMA_NAMES}
            description = tool.activity_description(activity)
            tools.append(ToolSpec(tool.to_native_tool_name(activity), description, parameters))
    return Conversation(
        system=_BETWEEN.join(filter(None, (_text(message) for message in stack.system_messages))),
        turns=turns,
        tools=tools if with_tools else [],
        barred=[] if with_tools else tools,
    )


def _turn(message: Message, echoes: Mapping[str, Any]) -> Turn:
    turn = Turn(Role.ASSISTANT if message.is_assistant() else Role.USER, _text(message))
    for content in message.content:
        match content:
            case ActionCallMessageContent():
                action = content.artifact.value
                name = fit_name(action.to_native_tool_name())
                turn.calls.append(Called(action.tag, name, mended(action.input)))
            case ActionResultMessageContent():
                text = mended_text(content.artifact.to_text())
                turn.results.append(
                    Result(
                        content.action.tag,
                        fit_name(content.action.to_native_tool_name()),
                        text if text.strip() else _UNSAID,
                        isinstance(content.artifact, ErrorArtifact),
                    )
                )
    if turn.calls:
        turn.echo = echoes.get(turn.calls[0].id)
    return turn


def fit_name(name: str) -> str:
    """The name of a tool as every provider takes it back: models make up names that none would."""
    return _UNFIT.sub("_", name)[:_LONGEST_NAME]


def _text(message: Message) -> str:
    parts = [part.artifact.to_text() for part in message.content if isinstance(part, TextMessageContent)]
    text = mended_text("".join(parts))
    return text if text.strip() else ""

"""The task of an assistant's run: it calls the model, and the tools, until the model answers."""

from itertools import accumulate
from typing import Any, Final, cast

from attrs import define, field
from griptape.artifacts import ActionArtifact, BaseArtifact, ErrorArtifact, ListArtifact, TextArtifact
from griptape.common import PromptStack, ToolAction
from griptape.drivers.prompt import BasePromptDriver
from griptape.memory.structure import ConversationMemory
from griptape.tasks import ActionsSubtask, BaseSubtask, BaseTask, PromptTask
from griptape.tools import BaseTool

from worker.executors.griptape.model_driver import SLIP, ModelDriver

MAX_CALLS: Final = 128
"""Calls of one answer that are made, as many as OpenAI's API allows: each may execute a program."""

_LAST_ASK: Final = "You have called tools as often as you may. Answer with what you know by now."
_NATIVE: Final = {"is_react_prompt": False}
"""What the framework notes of an answer whose calls are no text."""

_NOT_MADE: Final = "This call is not made: an answer may call tools {most} times."
_CUT_NOTE: Final = "\n[The rest was cut: it had {length} characters, of which {kept} are shown.]"


@define
class Question(PromptTask):
    """A task whose input is plain text: the framework's own would render a tenant's text as a template.

    What a model does wrong in a call is told to the model. A model that has called tools `max_subtasks`
    times is asked once more, without tools.
    """

    longest_output: int = field(default=100_000, kw_only=True)  # characters of what a tool gives

    def _process_task_input(self, task_input: Any) -> BaseArtifact:
        return TextArtifact(task_input) if isinstance(task_input, str) else task_input

    def default_generate_system_template(self, task: PromptTask) -> str:
        """The system's message; the framework would compile three templates to find that there is none."""
        return super().default_generate_system_template(task) if self.tools or self.rulesets else ""

    def default_run_actions_subtasks(self, subtask_input: BaseArtifact) -> BaseArtifact:
        """Make the calls that the model asks for, until it answers."""
        answer = subtask_input
        while _calls(answer) and len(self.subtasks) < self.max_subtasks:
            step = Step(answer, longest_output=self.longest_output)
            self.add_subtask(step)
            step.run()
            answer = self.prompt_driver.run(self.prompt_stack).to_artifact(_NATIVE)
        if not _calls(answer):
            return answer if isinstance(answer, TextArtifact) else TextArtifact(answer.to_text())
        driver = cast("ModelDriver", self.prompt_driver)  # is asked once more, without tools
        stack = self.prompt_stack
        stack.add_user_message(_LAST_ASK)
        driver.may_call_tools = False
        driver.detail["steps"] = "exhausted"
        answer = driver.run(stack).to_artifact(_NATIVE)
        if not _calls(answer):
            return answer
        texts = [part.to_text() for part in _parts(answer) if isinstance(part, TextArtifact)]
        if not texts:
            return ErrorArtifact(f"The model has called tools {self.max_subtasks} times and gave no answer.")
        return TextArtifact("".join(texts))


@define
class Step(ActionsSubtask):
    """The tool calls of one answer, and their results."""

    longest_output: int = field(default=100_000, kw_only=True)

    def attach_to(self, parent_task: BaseTask[Any]) -> None:
        """Take the calls of the answer; one that is wrong, or one too many, has its outcome already."""
        BaseSubtask.attach_to(self, parent_task)
        self.structure = parent_task.structure
        tools = cast("Question", parent_task).tools
        for part in _parts(self.input):
            if isinstance(part, ActionArtifact):
                action = _prepared(part, tools)
                if len(self.actions) >= MAX_CALLS:
                    action.output = ErrorArtifact(_NOT_MADE.format(most=MAX_CALLS))
                self.actions.append(action)
            elif isinstance(part, TextArtifact) and not self.thought:
                self.thought = part.to_text()

    def try_run(self) -> ListArtifact[Any]:
        """Make the calls that are right; the outcome of each is an error or what its tool gives."""
        super().run_actions([action for action in self.actions if action.output is None])
        outputs = []
        for action in self.actions:
            output = action.output or ErrorArtifact("The tool gave nothing.")
            text = output.to_text()
            if len(text) > self.longest_output:
                note = _CUT_NOTE.format(length=len(text), kept=self.longest_output)
                kind = ErrorArtifact if isinstance(output, ErrorArtifact) else TextArtifact
                output = kind(text[: self.longest_output] + note)
            output.name = f"{action.tag} output"
            action.output = output
            outputs.append(output)
        self.output = ListArtifact(outputs)
        return self.output


EXCHANGE_TOKENS: Final = 16  # that say who speaks, beyond what is said


@define
class Conversation(ConversationMemory):
    """The exchanges before a run, the oldest of which can be left out of what a model is asked.

    The framework would count the tokens of the whole conversation anew for each exchange that it drops.
    """

    left_out: int = field(default=0, init=False)  # exchanges that the model was not given
    _dropped: int = field(default=0, init=False)  # those that are no longer in `runs`
    _tokens: list[int] = field(factory=list, init=False)  # of each of `runs`

    def add_to_prompt_stack(
        self, prompt_driver: BasePromptDriver, prompt_stack: PromptStack, index: int | None = None
    ) -> PromptStack:
        """Put the newest exchanges that fit beside the rest of the prompt where they are to be."""
        tokenizer = prompt_driver.tokenizer
        self._tokens = self._tokens or [
            EXCHANGE_TOKENS + sum(tokenizer.count_tokens(said.to_text()) for said in (run.input, run.output))
            for run in self.runs
        ]
        left = tokenizer.count_input_tokens_left(prompt_driver.prompt_stack_to_string(prompt_stack))
        fitting = sum(1 for reached in accumulate(reversed(self._tokens)) if reached < left)
        self.left_out = max(self.left_out, self._dropped + len(self.runs) - fitting)
        if fitting:
            at = len(prompt_stack.messages) if index is None else index
            prompt_stack.messages[at:at] = self.to_prompt_stack(fitting).messages
        return prompt_stack

    def to_prompt_stack(self, last_n: int | None = None) -> PromptStack:
        stack = super().to_prompt_stack(last_n)
        self.meta["shown"] = stack.messages
        return stack

    def shorten(self, stack: PromptStack) -> bool:
        """Leave the older half out of a stack of messages, and of all that follow.

        Returns:
            Whether there was anything to leave out.
        """
        shown = self.meta.get("shown", [])
        kept_runs = len(shown) // 4
        dropped = {id(message) for message in shown[: len(shown) - 2 * kept_runs]}
        if not dropped:
            return False
        stack.messages = [message for message in stack.messages if id(message) not in dropped]
        self._dropped += len(self.runs) - kept_runs
        self.left_out = max(self.left_out, self._dropped)
        self.runs = self.runs[len(self.runs) - kept_runs :]
        self._tokens = self._tokens[len(self._tokens) - kept_runs :]
        return True


def _calls(answer: BaseArtifact) -> bool:
    return any(isinstance(part, ActionArtifact) for part in _parts(answer))


def _parts(answer: BaseArtifact) -> list[BaseArtifact]:
    return list(answer.value) if isinstance(answer, ListArtifact) else [answer]


def _prepared(call: ActionArtifact, tools: list[BaseTool]) -> ToolAction:
    """A call with its tool, or with the error for the model."""
    asked = call.value
    wanted = asked.to_native_tool_name()
    action = ToolAction(tag=asked.tag, name=asked.name, path=asked.path, input=asked.input)
    known = {
        tool.to_native_tool_name(activity): (tool, activity)
        for tool in tools
        for activity in tool.activities()
    }
    if wanted not in known:
        names = ", ".join(known) or "none"
        action.output = ErrorArtifact(f"There is no tool {wanted!r}; the tools are: {names}.")
        return action
    tool, activity = known[wanted]
    action.name, action.path, action.tool = tool.name, tool.activity_name(activity), tool
    slip = call.meta.get(SLIP)
    schema = None if slip else tool.activity_schema(activity)
    if schema is not None:
        try:
            tool.validate_activity_schema(schema, asked.input)
        except ValueError as error:
            slip = f"The arguments of this call do not suit the tool: {error}"
    if slip:
        action.output = ErrorArtifact(slip)
    return action

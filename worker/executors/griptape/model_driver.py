"""The prompt driver of every run: it calls the provider, repeats, stops and counts tokens."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, Self
from urllib.parse import urlsplit

from attrs import define, field
from griptape.artifacts import ActionArtifact, BaseArtifact, TextArtifact
from griptape.common import (
    ActionCallMessageContent,
    DeltaMessage,
    Message,
    PromptStack,
    TextMessageContent,
    ToolAction,
)
from griptape.drivers.prompt import BasePromptDriver
from griptape.events import ActionChunkEvent, EventBus, TextChunkEvent

from shared import tracing
from shared.metrics import definitions as metrics
from worker.cancellation import CancelToken, RunStopped
from worker.executors.griptape.model_errors import (
    MAX_TOLD,
    MAX_WORDS,
    AnswerIncompleteError,
    Cause,
    EmptyAnswerError,
    ModelError,
    NoAnswerError,
    ToldError,
    has_words,
    model_error,
)
from worker.executors.griptape.pacing import Pace, pace_of
from worker.executors.griptape.providers.answer import (
    Answer,
    CallIds,
    CallPart,
    Part,
    TextPart,
    ThoughtPart,
    mended,
)
from worker.executors.griptape.providers.conversation import Conversation, conversation
from worker.executors.griptape.providers.endings import How
from worker.executors.griptape.providers.frames import DONE, Json
from worker.executors.griptape.providers.setup import STREAM, Provider
from worker.executors.griptape.refused_parameters import (
    CALLS_WITHOUT_TOOLS,
    SYSTEM,
    THOUGHTS,
    WORDS_AFTER_RESULTS,
    WORDS_BESIDE_CALLS,
    Model,
    is_unsupported,
    named,
    refused_by,
    remember,
)
from worker.redaction import redact

FIRST_RETRY_INTERVAL: Final = (
    0.5  # seconds before the second attempt of a model call; then twice as long each
)
MAX_RETRY_INTERVAL: Final = 8.0  # seconds
KEEP_OPEN_TIMEOUT: Final = 10.0  # seconds that a connection may stay open after the end of its answer
_SHARE_OF_FAILURES: Final = 0.1  # of patience, where a server fails and does not say that this will pass
_LEAST_SHARE: Final = 0.125  # of the pause that would be made, where a provider asks for less and less
_THOUGHT_LENGTH: Final = 500  # characters of thoughts that are told at once: models think at length
_MOST_FAILURES: Final = 4  # of one call, where the model is not busy: it failed, or is not there
_MOST_LEFT_OUT: Final = 12  # parameters of one call that are left out one after the other

_SLIP_NOTE: Final = (
    "Your call of a tool could not be read."
    " Call it again, by its name, with its arguments as one JSON object."
)

PROVIDER_NAMES: Final = {
    "amazon-bedrock": "aws.bedrock",
    "azure-openai": "azure.ai.openai",
    "google": "gcp.gemini",
}
"""Names of providers in traces, where the conventions have others."""

_SHOWN_MESSAGES: Final = 20  # of a prompt, the last ones, in a trace that has content

_UNNAMED: Final = "unnamed"

_ALWAYS_ASKED_OF: Final = frozenset(
    {STREAM, CALLS_WITHOUT_TOOLS, WORDS_AFTER_RESULTS, WORDS_BESIDE_CALLS, THOUGHTS}
)
"""What is no part of a request by its own name."""

SLIP: Final = "slip"
"""The name in an artifact's `meta` under which it says what is wrong with a call."""


@define(kw_only=True)
class ModelDriver(BasePromptDriver):
    """Calls a provider's model, and emits the framework's events for its answer.

    A fired token ends the call between two frames. A call that failed before its answer began is
    repeated while the failure is transient and patience lasts. Tokens that the provider does not report
    are estimated.
    """

    provider: Provider
    full_model: str  # with its provider
    token: CancelToken
    patience: float  # seconds for which a model is asked again and again
    attempts: int | None = None  # of one call, where patience is not to decide alone
    silence: float  # seconds without a byte after which the connections give up
    ignored_params: list[str] = field(factory=list)  # of the run's `llm_params`: no setting for them
    sampled_params: dict[str, str] = field(factory=dict)  # of `llm_params`, by what the provider calls them
    shorten: Callable[[PromptStack], bool] = field(default=lambda _stack: False)
    hang_up: Callable[[], None] = field(default=lambda: None)  # shuts the connections that are open
    on_thought: Callable[[str, bool], None] | None = None  # told whether the model thinks all over again
    may_call_tools: bool = True
    detail: dict[str, Any] = field(factory=dict, init=False)  # of the last answer, for `status_detail`
    _ids: CallIds = field(factory=CallIds, init=False)
    _echoes: dict[str, Any] = field(factory=dict, init=False)
    _spent: Message.Usage | None = field(default=None, init=False)  # by the last call, if it was answered
    _thought: str = field(default="", init=False)
    _has_thought: bool = field(default=False, init=False)  # before the model was asked the same again
    _thinks_again: bool = field(default=False, init=False)
    _sent: dict[str, Any] = field(factory=dict, init=False)
    _has_system: bool = field(default=False, init=False)  # the last request, apart from what the user says
    _pace: Pace = field(init=False)
    _model_key: Model = field(init=False)
    model: str = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.stream = True
        self.use_native_tools = True  # without it the framework explains to the model how to call tools
        self.model = self.provider.model
        self._pace = pace_of(self.provider.provider, self.provider.address)
        self._model_key = (self.provider.provider, self.provider.address, self.model)

    def run(self, prompt_input: PromptStack | BaseArtifact) -> Message:
        """Ask the model.

        Raises:
            ModelError: the model gave no answer.
        """
        stack = (
            PromptStack.from_artifact(prompt_input)
            if isinstance(prompt_input, BaseArtifact)
            else prompt_input
        )
        patience = _Patience(self.patience, self.attempts)
        left_out: set[str] = set()
        self._has_thought = self._thinks_again = False
        self.before_run(stack)
        while True:
            self._pause(min(self._pace.turn(), patience.left))
            sent_at = time.monotonic()
            answer = Answer(self._ids)
            try:
                message = self._measured(stack, answer)
            except ModelError as error:
                if error.cause.is_busy:
                    self._pace.refused(sent_at)
                if error.cause.is_slip and not (
                    stack.messages and stack.messages[-1].to_text() == _SLIP_NOTE
                ):
                    stack.add_user_message(_SLIP_NOTE)
                if self._leave_out(error, left_out, has_begun=answer.has_begun):
                    continue
                may_shorten = error.cause.is_too_long and not answer.has_begun
                if may_shorten and "history" not in self.detail and self.shorten(stack):
                    self.detail["history"] = "shortened"
                    continue
                self._pause(patience.pause_after(error))
                self._thought = ""  # the thoughts before a repeated call do not count
                self._thinks_again = self._thinks_again or self._has_thought
                continue
            self._pace.answered()
            self.after_run(message)
            return message

    def try_run(self, prompt_stack: PromptStack) -> Message:
        return self.run(prompt_stack)

    def try_stream(self, prompt_stack: PromptStack) -> Iterator[DeltaMessage]:
        raise NotImplementedError  # `run` is what the framework calls

    def after_run(self, result: Message) -> None:
        """Count the tokens of an answer; the framework emits them."""
        metrics.TOKENS.inc(self._provider_name, "input", by=result.usage.input_tokens or 0)
        metrics.TOKENS.inc(self._provider_name, "output", by=result.usage.output_tokens or 0)
        super().after_run(result)

    @property
    def _provider_name(self) -> str:
        """The provider, as the names of models begin."""
        return self.full_model.partition("/")[0]

    def _measured(self, stack: PromptStack, answer: Answer) -> Message:
        """Ask once, and measure that.

        Raises:
            ModelError: that failed.
        """
        outcome, begun_at = "failed", time.monotonic()
        try:
            message = self._ask(stack, answer)
            outcome = "answered"
        except RunStopped:
            outcome = "stopped"
            raise
        except ModelError as error:
            outcome = "refused" if error.is_refusal else "busy" if error.cause.is_busy else "failed"
            raise
        finally:
            metrics.MODEL_CALLS.inc(self._provider_name, outcome)
            metrics.MODEL_CALL_SECONDS.observe(time.monotonic() - begun_at, self._provider_name)
        return message

    def _ask(self, stack: PromptStack, answer: Answer) -> Message:
        """Ask once.

        Raises:
            ModelError: that failed.
        """
        self._spent = None
        with tracing.span(f"chat {self.model}", kind=tracing.Kind.CLIENT) as measured:
            try:
                return self._asked(stack, answer)
            finally:
                if measured is not None:
                    self._describe(measured, stack, answer)

    def _describe(self, measured: tracing.Span, stack: PromptStack, answer: Answer) -> None:
        """Say what a call was, by the conventions for generative models."""
        provider = self.provider.provider
        measured.set(
            gen_ai__operation__name="chat",
            gen_ai__provider__name=PROVIDER_NAMES.get(provider, provider),
            gen_ai__request__model=self.model,
            gen_ai__response__finish_reasons=[answer.ending.word] if answer.ending else None,
            gen_ai__usage__input_tokens=self._spent.input_tokens if self._spent else answer.input_tokens,
            gen_ai__usage__output_tokens=self._spent.output_tokens if self._spent else answer.output_tokens,
            server__address=urlsplit(self.provider.address).hostname,
        )
        if tracing.shows_content():
            asked = [_content_of(message.role, message.to_text()) for message in stack.messages]
            measured.set(
                gen_ai__input__messages=json.dumps(asked[-_SHOWN_MESSAGES:]),
                gen_ai__output__messages=json.dumps([_content_of("assistant", answer.text_so_far)]),
            )

    def _asked(self, stack: PromptStack, answer: Answer) -> Message:
        asked = conversation(stack, self._echoes, with_tools=self.may_call_tools)
        for _ in self._reading(asked, answer):
            self._tell(answer.take())
        answer.close()
        self._tell(answer.take())
        self._tell_thoughts()
        message = self._message(stack, answer)
        try:
            self._check(answer)
        except ModelError:
            self.after_run(message)  # its tokens were spent
            raise
        self.provider.finish(answer)
        if answer.calls and answer.echo:
            self._echoes[answer.calls[0].id] = mended(answer.echo)
        return message

    def _reading(self, asked: Conversation, answer: Answer) -> Iterator[None]:
        """Send the request and read the answer, a step for each frame.

        Raises:
            ModelError: that failed. What the caller does between two steps is the caller's.
        """
        without = refused_by(self._model_key)
        self._has_system = bool(asked.system) and SYSTEM not in without
        if SYSTEM in without:
            asked = asked.with_system_said_by_user()
        unread: Json | None = None  # the first frame that is of no answer
        try:
            request = self._sent = self.provider.request(asked, without)
            with (
                _Farewell(self.hang_up) as farewell,
                self.provider.send(request, stream=STREAM not in without) as frames,
            ):
                for frame in frames:
                    self.token.raise_if_cancelled()
                    self.provider.read(frame, answer)
                    if unread is None and frame is not DONE and not answer.has_come:
                        unread = frame
                    yield
                    if answer.is_over:
                        break
                    if answer.ending is not None:
                        farewell.begin(answer.length)
            self.token.raise_if_cancelled()  # a connection that was shut may look like a proper end
        except Exception as error:
            self.token.raise_if_cancelled()
            if answer.ending is None and not answer.is_over:
                raise model_error(
                    self.full_model, error, silence=self.silence, has_begun=answer.has_begun
                ) from error
            # All of the answer was there: what the connection does after it does not matter.
        if (failure := _failure_of(answer, unread)) is not None:
            raise model_error(self.full_model, failure, silence=self.silence, has_begun=False) from failure

    def _tell(self, parts: Iterator[Part]) -> None:
        for part in parts:
            if not isinstance(part, ThoughtPart):
                self._tell_thoughts()
            match part:
                case TextPart(text):
                    EventBus.publish_event(TextChunkEvent(token=text, index=0))
                case ThoughtPart(text):
                    self._thought += text
                    if len(self._thought) >= _THOUGHT_LENGTH:
                        self._tell_thoughts()
                case CallPart(call, True, arguments):
                    name, path = ToolAction.from_native_tool_name(call.tool_name or _UNNAMED)
                    EventBus.publish_event(
                        ActionChunkEvent(
                            partial_input=arguments or None,
                            tag=call.id,
                            name=name,
                            path=path,
                            index=call.index,
                        )
                    )
                case CallPart(call, _, arguments):
                    EventBus.publish_event(ActionChunkEvent(partial_input=arguments, index=call.index))

    def _tell_thoughts(self) -> None:
        """Emit the thoughts since the last call."""
        thought, self._thought = self._thought, ""
        if thought and self.on_thought is not None:
            self.on_thought(thought, self._thinks_again)
            self._has_thought, self._thinks_again = True, False

    def _check(self, answer: Answer) -> None:
        """Check that an answer ended as a whole.

        Raises:
            ModelError: it is none.
        """
        self.detail.pop("answer", None)
        has_something = bool(answer.text_so_far.strip() or answer.calls)
        how = answer.ending.how if answer.ending else None
        word = answer.ending.word if answer.ending else ""
        if answer.ending is None and not answer.is_over:
            failure = AnswerIncompleteError()
            raise model_error(
                self.full_model, failure, silence=self.silence, has_begun=answer.has_begun
            ) from failure
        is_refusal = bool(answer.refusal) and not has_something and how not in {How.BROKEN, How.CUT}
        if how is How.REFUSED or is_refusal:
            said = _cut(answer.refusal.strip() or answer.text_so_far.strip() or word)
            raise ModelError(f"{self.full_model} refused to answer: {said}", is_refusal=True)
        if how is How.BROKEN:
            raise ModelError(
                f"{self.full_model} gave up its answer: {_cut(answer.refusal.strip() or word)}",
                is_transient=not answer.has_begun,
                cause=Cause(is_slip=answer.ending is not None and answer.ending.is_slip),
            )
        if how is How.CUT:
            self.detail["answer"] = "cut"
            if not has_something:
                raise ModelError(
                    f"{self.full_model} was cut off before it answered: {word}", detail={"answer": "cut"}
                )
        if not has_something:
            thought = ", after having thought" if answer.thoughts else ""
            raise ModelError(f"{self.full_model} ended its answer without having said anything{thought}.")

    def _message(self, stack: PromptStack, answer: Answer) -> Message:
        """Return the answer as the framework's message; errors in its tool calls are noted beside it."""
        content: list[Any] = []
        if text := answer.text_so_far:
            content.append(TextMessageContent(TextArtifact(text)))
        for call in answer.calls:
            name, path = ToolAction.from_native_tool_name(call.tool_name or _UNNAMED)
            arguments = call.read()
            meta = {}
            if arguments is None:
                was_cut = answer.ending is not None and answer.ending.how is How.CUT
                why = "were cut off by the limit of tokens" if was_cut else "are no JSON object"
                meta = {SLIP: f"The arguments of this call {why}: {call.arguments[:200]}"}
            action = ToolAction(tag=call.id, name=name, path=path, input=arguments or {})
            content.append(ActionCallMessageContent(ActionArtifact(action, meta=meta)))
        usage = Message.Usage(
            input_tokens=self.tokenizer.count_tokens(self.prompt_stack_to_string(stack))
            if answer.input_tokens is None
            else answer.input_tokens,
            output_tokens=self.tokenizer.count_tokens(text)
            if answer.output_tokens is None
            else answer.output_tokens,
        )
        self._spent = usage
        return Message(content, role=Message.ASSISTANT_ROLE, usage=usage)

    def _leave_out(self, error: ModelError, left_out: set[str], *, has_begun: bool) -> bool:
        """Drop the parameters that the model has just refused; return whether to ask again."""
        if has_begun or not error.cause.names_parameters or len(left_out) >= _MOST_LEFT_OUT:
            return False
        renamed = self.provider.renamed(error.cause.words)
        for old, new in renamed.items():
            if old != new:
                self.provider.parameters[new] = self.provider.parameters.pop(old)
                self.sampled_params[new] = self.sampled_params.pop(old, "")
        if renamed:
            left_out |= {f"{old} as {new} {len(left_out)}" for old, new in renamed.items()}
            return True
        # A value that the run's own parameters set, and that the model refuses, is the caller's to mend:
        # only a parameter that the model does not have is left out.
        words, body = error.cause.words, error.cause.body
        ours = {
            name
            for name in self.provider.OPTIONAL  # what was sent of it
            if name in _ALWAYS_ASKED_OF or name in self._sent or _holds(self._sent.get("messages"), name)
        }
        ours |= {SYSTEM} if self._has_system else set()
        theirs = self.provider.parameters.keys() if is_unsupported(words) else set()
        names = named(ours | theirs, words, body) - refused_by(self._model_key) - left_out
        if not names:
            return False
        left_out |= names
        remember(self._model_key, names)
        self.ignored_params += [own for name in names if (own := self.sampled_params.get(name))]
        self.ignored_params.sort()
        return True

    def _pause(self, seconds: float) -> None:
        if seconds > 0:
            self.token.wait(seconds)
        self.token.raise_if_cancelled()


class _Farewell:
    """Closes a connection that stays open after the end of its answer."""

    def __init__(self, hang_up: Callable[[], None]) -> None:
        self._hang_up = hang_up
        self._timer: threading.Timer | None = None
        self._length = -1  # of the answer, when the wait began

    def __enter__(self) -> Self:
        return self

    def begin(self, length: int) -> None:
        """Wait for a while: token counts may follow. An answer that has grown begins the wait anew.

        Args:
            length: of the answer. Some providers tell of an end in every frame.
        """
        if length == self._length:
            return
        self._length = length
        self.__exit__()
        self._timer = threading.Timer(KEEP_OPEN_TIMEOUT, self._hang_up)
        self._timer.daemon = True
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()


def _failure_of(answer: Answer, unread: Json | None) -> Exception | None:
    """Return the error for a response without an answer; None if it has one.

    Args:
        answer: what was read.
        unread: the first frame before it, if that was of no answer.
    """
    if not answer.is_nothing:
        return None
    if unread is not None and has_words(unread):
        return ToldError(unread)
    if unread is not None and not answer.has_come:
        return NoAnswerError()
    return None if answer.has_come or answer.is_over else EmptyAnswerError()


def _holds(value: Any, name: str) -> bool:
    """Whether any object inside a JSON value has a key."""
    match value:
        case dict():
            return name in value or any(_holds(each, name) for each in value.values())
        case list():
            return any(_holds(each, name) for each in value)
        case _:
            return False


def _content_of(role: str, text: str) -> dict[str, Any]:
    """A message for a span, without secrets."""
    return {"role": role, "parts": [{"type": "text", "content": redact(text)}]}


def _cut(words: str) -> str:
    words = redact(" ".join(words[:MAX_TOLD].split()))
    return words if len(words) <= MAX_WORDS else words[: MAX_WORDS - 1] + "…"


class _Patience:
    """The time and the number of attempts of one model call."""

    def __init__(self, seconds: float, attempts: int | None) -> None:
        self._deadline = time.monotonic() + seconds
        self._deadline_of_failures = time.monotonic() + seconds * _SHARE_OF_FAILURES
        self._attempts_left = attempts
        self._failures_left = _MOST_FAILURES
        self._pause = FIRST_RETRY_INTERVAL

    @property
    def left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def pause_after(self, error: ModelError) -> float:
        """Return the seconds to wait before the next attempt.

        Raises:
            ModelError: the error; the call is not repeated.
        """
        if self._attempts_left is not None:
            self._attempts_left -= 1
        self._failures_left -= not (error.cause.is_busy or error.cause.is_down)
        wait = max(error.retry_after, self._pause * _LEAST_SHARE) if error.retry_after else self._pause
        self._pause = min(self._pause * 2, MAX_RETRY_INTERVAL)
        if not error.is_transient or self._attempts_left == 0 or not self._failures_left:
            raise error
        is_failure = error.cause.is_down and not error.cause.is_busy
        if time.monotonic() + wait > (self._deadline_of_failures if is_failure else self._deadline):
            raise error
        return wait

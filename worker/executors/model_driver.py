"""The one prompt driver that runs use, whatever the provider: it asks, stops, waits and counts."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, Self

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

from worker.cancellation import CancelToken
from worker.executors.model_errors import (
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
from worker.executors.pacing import Pace, pace_of
from worker.executors.providers.answer import (
    Answer,
    Call,
    CallIds,
    CallPart,
    Part,
    TextPart,
    ThoughtPart,
    mended,
)
from worker.executors.providers.conversation import Conversation, conversation
from worker.executors.providers.endings import How
from worker.executors.providers.frames import DONE, Json
from worker.executors.providers.setup import STREAM, Provider
from worker.executors.refused_parameters import (
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

FIRST_PAUSE: Final = 0.5  # seconds before the second attempt of a model call; then twice as long each
LONGEST_PAUSE: Final = 8.0  # seconds
AFTER_END: Final = 10.0  # seconds for which a connection is kept once the answer has ended
_SHARE_OF_FAILURES: Final = 0.1  # of patience, where a server fails and does not say that this will pass
_LEAST_SHARE: Final = 0.125  # of the pause that would be made, where a provider asks for less and less
_THOUGHT_LENGTH: Final = 500  # characters of thoughts that are told at once: models think at length
_MOST_FAILURES: Final = 4  # of one call, where the model is not busy: it failed, or is not there
_MOST_LEFT_OUT: Final = 12  # parameters of one call that are left out one after the other

_SLIP_NOTE: Final = (
    "Your call of a tool could not be read."
    " Call it again, by its name, with its arguments as one JSON object."
)

_UNNAMED: Final = "unnamed"

_ALWAYS_ASKED_OF: Final = frozenset(
    {STREAM, CALLS_WITHOUT_TOOLS, WORDS_AFTER_RESULTS, WORDS_BESIDE_CALLS, THOUGHTS}
)
"""What is no part of a request by its own name."""

SLIP: Final = "slip"
"""The name in an artifact's `meta` under which it says what is wrong with a call."""


@define(kw_only=True)
class ModelDriver(BasePromptDriver):
    """Asks a provider's model, and tells the framework's events of what it answers.

    A run that is to stop ends between two frames. A call that failed before its answer began is
    repeated while that may help and patience lasts. Tokens that the provider does not report are
    estimated.
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
            ModelError: it gave no answer.
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
            sent_at = self._wait_for_turn(patience)
            answer = Answer(self._ids)
            try:
                message = self._ask(stack, answer)
            except ModelError as error:
                self._note(error, sent_at, stack)
                if self._leave_out(error, left_out, has_begun=answer.has_begun):
                    continue
                if error.cause.is_too_long and not answer.has_begun and self._shorten(stack):
                    continue
                self._pause(patience.pause_after(error))
                self._forget_thoughts()
                continue
            self._pace.answered()
            self.after_run(message)
            return message

    def try_run(self, prompt_stack: PromptStack) -> Message:
        return self.run(prompt_stack)

    def try_stream(self, prompt_stack: PromptStack) -> Iterator[DeltaMessage]:
        raise NotImplementedError  # `run` is what the framework calls

    def _ask(self, stack: PromptStack, answer: Answer) -> Message:
        """Ask once.

        Raises:
            ModelError: that failed.
        """
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
                        farewell.begin()
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
        """Tell what the model has thought since the last time."""
        thought, self._thought = self._thought, ""
        if thought and self.on_thought is not None:
            self.on_thought(thought, self._thinks_again)
            self._has_thought, self._thinks_again = True, False

    def _forget_thoughts(self) -> None:
        """Begin again with them: the model is asked the same again, and its first thoughts do not count."""
        self._thought = ""
        self._thinks_again = self._thinks_again or self._has_thought

    def _check(self, answer: Answer) -> None:
        """Judge an answer by its end.

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
        """The answer as the framework's message; what is wrong with a call is noted beside it."""
        content: list[Any] = []
        if text := answer.text_so_far:
            content.append(TextMessageContent(TextArtifact(text)))
        content += [ActionCallMessageContent(self._action(call, answer)) for call in answer.calls]
        usage = Message.Usage(
            input_tokens=self.tokenizer.count_tokens(self.prompt_stack_to_string(stack))
            if answer.input_tokens is None
            else answer.input_tokens,
            output_tokens=self.tokenizer.count_tokens(text)
            if answer.output_tokens is None
            else answer.output_tokens,
        )
        return Message(content, role=Message.ASSISTANT_ROLE, usage=usage)

    @staticmethod
    def _action(call: Call, answer: Answer) -> ActionArtifact:
        name, path = ToolAction.from_native_tool_name(call.tool_name or _UNNAMED)
        arguments = call.read()
        meta = {}
        if arguments is None:
            was_cut = answer.ending is not None and answer.ending.how is How.CUT
            why = "were cut off by the limit of tokens" if was_cut else "are no JSON object"
            meta = {SLIP: f"The arguments of this call {why}: {call.arguments[:200]}"}
        return ActionArtifact(ToolAction(tag=call.id, name=name, path=path, input=arguments or {}), meta=meta)

    def _wait_for_turn(self, patience: "_Patience") -> float:
        """Wait until this run may send its request; return when that is."""
        self._pause(min(self._pace.turn(), patience.left))
        return time.monotonic()

    def _note(self, error: ModelError, sent_at: float, stack: PromptStack) -> None:
        """Note what a failure says of the provider, or of the model, which is told of it."""
        if error.cause.is_busy:
            self._pace.refused(sent_at)
        if error.cause.is_slip and not (stack.messages and stack.messages[-1].to_text() == _SLIP_NOTE):
            stack.add_user_message(_SLIP_NOTE)

    def _leave_out(self, error: ModelError, left_out: set[str], *, has_begun: bool) -> bool:
        """Whether the model is to be asked again, without what it has just refused."""
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
        names = self._refused_names(error) - left_out
        if not names:
            return False
        left_out |= names
        remember(self._model_key, names)
        self.ignored_params += [own for name in names if (own := self.sampled_params.get(name))]
        self.ignored_params.sort()
        return True

    def _refused_names(self, error: ModelError) -> set[str]:
        """The parts of the last request that it was refused for.

        A value that the run's own parameters set, and that the model refuses, is the caller's to mend:
        only a parameter that the model does not have is left out.
        """
        words, body = error.cause.words, error.cause.body
        ours = {name for name in self.provider.OPTIONAL if self._was_sent(name)}
        ours |= {SYSTEM} if self._has_system else set()
        theirs = self.provider.parameters.keys() if is_unsupported(words) else set()
        return named(ours | theirs, words, body) - refused_by(self._model_key)

    def _was_sent(self, name: str) -> bool:
        return name in _ALWAYS_ASKED_OF or name in self._sent or _holds(self._sent.get("messages"), name)

    def _shorten(self, stack: PromptStack) -> bool:
        """Leave out earlier exchanges, once, if there are any; say so."""
        if "history" in self.detail or not self.shorten(stack):
            return False
        self.detail["history"] = "shortened"
        return True

    def _pause(self, seconds: float) -> None:
        if seconds > 0:
            self.token.wait(seconds)
        self.token.raise_if_cancelled()


class _Farewell:
    """Hangs up on a server that has told how its answer ended, and does not close the connection."""

    def __init__(self, hang_up: Callable[[], None]) -> None:
        self._hang_up = hang_up
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Self:
        return self

    def begin(self) -> None:
        """Wait for a while from now on: token counts may follow, and some tell of an end in every frame."""
        self.__exit__()
        self._timer = threading.Timer(AFTER_END, self._hang_up)
        self._timer.daemon = True
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()


def _failure_of(answer: Answer, unread: Json | None) -> Exception | None:
    """What came instead of an answer, if none did.

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
    """Whether an object within JSON has a key."""
    match value:
        case dict():
            return name in value or any(_holds(each, name) for each in value.values())
        case list():
            return any(_holds(each, name) for each in value)
        case _:
            return False


def _cut(words: str) -> str:
    words = redact(" ".join(words.split()))
    return words if len(words) <= MAX_WORDS else words[: MAX_WORDS - 1] + "…"


class _Patience:
    """For how long, and how often, one call of a model is repeated."""

    def __init__(self, seconds: float, attempts: int | None) -> None:
        self._deadline = time.monotonic() + seconds
        self._deadline_of_failures = time.monotonic() + seconds * _SHARE_OF_FAILURES
        self._attempts_left = attempts
        self._failures_left = _MOST_FAILURES
        self._pause = FIRST_PAUSE

    @property
    def left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def pause_after(self, error: ModelError) -> float:
        """Seconds to wait before the next attempt.

        Raises:
            ModelError: the error, since it is not to be repeated.
        """
        if self._attempts_left is not None:
            self._attempts_left -= 1
        self._failures_left -= not (error.cause.is_busy or error.cause.is_down)
        wait = max(error.retry_after, self._pause * _LEAST_SHARE) if error.retry_after else self._pause
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        if not error.is_transient or self._attempts_left == 0 or not self._failures_left:
            raise error
        is_failure = error.cause.is_down and not error.cause.is_busy
        if time.monotonic() + wait > (self._deadline_of_failures if is_failure else self._deadline):
            raise error
        return wait

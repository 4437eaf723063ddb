"""The one prompt driver that runs use, whatever the provider: it stops, retries and counts."""

from collections.abc import Iterator
from typing import Final

from attrs import define, field
from griptape.common import DeltaMessage, Message, PromptStack, TextDeltaMessageContent
from griptape.drivers.prompt import BasePromptDriver
from griptape.tokenizers import BaseTokenizer
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from worker.cancellation import CancelToken
from worker.executors.model_errors import ModelError, NoAnswerError, model_error

FIRST_PAUSE: Final = 0.5  # seconds before the second attempt of a model call; then twice as long each
LONGEST_PAUSE: Final = 8.0  # seconds
LONGEST_RETRY_AFTER: Final = 60.0  # seconds; a provider that asks for more is not waited for any longer

_backoff = wait_exponential_jitter(initial=FIRST_PAUSE, max=LONGEST_PAUSE)


@define(kw_only=True)
class ModelDriver(BasePromptDriver):
    """Streams the answers of a provider's driver.

    A run that is to stop ends between two chunks. A call that failed before its answer began is
    repeated, if that may help. Tokens that the provider does not report are estimated.
    """

    provider_driver: BasePromptDriver
    full_model: str  # with its provider
    token: CancelToken
    attempts: int
    silence: float  # seconds without a byte after which the connections give up
    ignored_params: list[str] = field(factory=list)  # of the run's `llm_params`: no setting for them
    tokenizer: BaseTokenizer = field(init=False)
    model: str = field(init=False)

    def __attrs_post_init__(self) -> None:
        driver = self.provider_driver
        self.stream = True  # without it a run that waits for its whole answer could not be stopped
        self.model = driver.model
        self.tokenizer = driver.tokenizer
        self.use_native_tools = driver.use_native_tools
        self.structured_output_strategy = driver.structured_output_strategy

    def retrying(self) -> Retrying:
        """How the framework is to repeat a model call."""
        return Retrying(
            stop=stop_after_attempt(self.attempts),
            wait=_wait,
            sleep=self._pause,
            # Tenacity catches RunStopped, too; anything but a transient error is raised again.
            retry=retry_if_exception(lambda error: isinstance(error, ModelError) and error.is_transient),
            reraise=True,
        )

    def try_run(self, prompt_stack: PromptStack) -> Message:
        return self.provider_driver.try_run(prompt_stack)

    def try_stream(self, prompt_stack: PromptStack) -> Iterator[DeltaMessage]:
        answer = _Answer()
        try:
            for delta in self.provider_driver.try_stream(prompt_stack):
                self.token.raise_if_cancelled()
                answer.add(delta)
                yield delta
            self.token.raise_if_cancelled()  # a connection that was shut may look like a proper end
            answer.check()
        except Exception as error:
            self.token.raise_if_cancelled()
            raise model_error(
                self.full_model, error, silence=self.silence, has_begun=answer.has_content
            ) from error
        if not answer.has_usage:
            yield DeltaMessage(usage=self._estimate(prompt_stack, answer))

    def _pause(self, seconds: float) -> None:
        self.token.wait(seconds)
        self.token.raise_if_cancelled()

    def _estimate(self, prompt_stack: PromptStack, answer: "_Answer") -> DeltaMessage.Usage:
        asked, answered = answer.usage.input_tokens, answer.usage.output_tokens
        if asked is None:
            asked = self.tokenizer.count_tokens(self.prompt_stack_to_string(prompt_stack))
        if answered is None:
            answered = self.tokenizer.count_tokens("".join(answer.texts))
        return DeltaMessage.Usage(input_tokens=asked, output_tokens=answered)


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, ModelError) else 0.0
    return max(_backoff(state), min(asked, LONGEST_RETRY_AFTER))


class _Answer:
    """What has come of an answer so far."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.usage = DeltaMessage.Usage()
        self.has_content = False
        self._is_empty = True

    @property
    def has_usage(self) -> bool:
        return self.usage.input_tokens is not None and self.usage.output_tokens is not None

    def add(self, delta: DeltaMessage) -> None:
        self._is_empty = False
        if delta.usage.input_tokens is not None:
            self.usage.input_tokens = delta.usage.input_tokens
        if delta.usage.output_tokens is not None:
            self.usage.output_tokens = delta.usage.output_tokens
        if isinstance(delta.content, TextDeltaMessageContent):
            self.texts.append(delta.content.text)
            self.has_content |= bool(delta.content.text)
        elif delta.content is not None:
            self.has_content = True

    def check(self) -> None:
        """Refuse an answer in which nothing came at all, not even its end."""
        if self._is_empty:
            raise NoAnswerError

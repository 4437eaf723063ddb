"""The offline model: it says back what it is asked, word by word."""

import re
from collections.abc import Iterator
from typing import Final

from attrs import define
from griptape.artifacts import TextArtifact
from griptape.common import (
    DeltaMessage,
    Message,
    PromptStack,
    TextDeltaMessageContent,
    TextMessageContent,
)
from griptape.drivers.prompt import BasePromptDriver

from worker.cancellation import CancelToken
from worker.executors.providers.setup import Setup
from worker.executors.tokenizer import estimating_tokenizer

PREFACE: Final = "Echo (no model is configured): "

_WORDS: Final = re.compile(r"\s*\S+\s*|\s+")


@define(kw_only=True)
class EchoPromptDriver(BasePromptDriver):
    """Answers with the last message of the user. Deterministic; needs no network and no key."""

    token: CancelToken
    words_per_second: float = 0  # 0 is as fast as it can

    def try_run(self, prompt_stack: PromptStack) -> Message:
        content = TextMessageContent(TextArtifact(_answer(prompt_stack)))
        return Message([content], role=Message.ASSISTANT_ROLE)

    def try_stream(self, prompt_stack: PromptStack) -> Iterator[DeltaMessage]:
        for word in _WORDS.findall(_answer(prompt_stack)):
            yield DeltaMessage(content=TextDeltaMessageContent(word))
            if self.words_per_second:
                self.token.wait(1 / self.words_per_second)
            self.token.raise_if_cancelled()


def _answer(prompt_stack: PromptStack) -> str:
    return PREFACE + prompt_stack.user_messages[-1].to_text()


def build(setup: Setup) -> EchoPromptDriver:
    """Make the driver; `echo_words_per_second` is its pace."""
    model = setup.model or setup.provider
    return EchoPromptDriver(
        model=model,
        tokenizer=estimating_tokenizer(model),
        stream=True,
        use_native_tools=True,  # without it the framework explains to the model how to call tools
        token=setup.context.token,
        words_per_second=float(setup.context.options.get("echo_words_per_second", 0)),
    )

"""OpenAI, and whatever speaks its protocol at OPENAI_BASE_URL."""

import re
from collections.abc import Iterator
from typing import Final, cast

import openai
from griptape.common import DeltaMessage
from griptape.drivers.prompt.openai import OpenAiChatPromptDriver
from griptape.tokenizers import OpenAiTokenizer
from openai import Stream
from openai.types.chat import ChatCompletionChunk

from worker.executors.providers.completeness import checked
from worker.executors.providers.setup import Setup
from worker.executors.tokenizer import estimating_tokenizer

NO_KEY: Final = "none"
"""The library insists on a key; a server of one's own may not."""

_REASONING = re.compile(r"o\d|gpt-5")


class ReasoningModels:
    """Tells OpenAI's reasoning models by their names: the framework takes every name in o… for one."""

    model: str

    @property
    def supports_reasoning_effort(self) -> bool:
        return re.match(r"o\d", self.model) is not None and self.model != "o1-mini"

    @property
    def supports_modalities(self) -> bool:
        return re.match(r"o\d", self.model) is None

    @property
    def supports_stop_sequences(self) -> bool:
        return _REASONING.match(self.model) is None

    @property
    def supports_temperature(self) -> bool:
        return _REASONING.match(self.model) is None


def complete(chunks: Stream[ChatCompletionChunk]) -> Stream[ChatCompletionChunk]:
    """The chunks of an answer, which must end with a reason to finish."""
    parts = checked(chunks, lambda chunk: any(choice.finish_reason for choice in chunk.choices))
    return cast("Stream[ChatCompletionChunk]", parts)


class OpenAiDriver(ReasoningModels, OpenAiChatPromptDriver):
    """The framework's driver, but an answer that was cut off is no answer."""

    def _to_delta_message_stream(self, result: Stream[ChatCompletionChunk]) -> Iterator[DeltaMessage]:
        return super()._to_delta_message_stream(complete(result))


def build(setup: Setup) -> OpenAiDriver:
    """Make the driver, from OPENAI_API_KEY, OPENAI_BASE_URL, OPENAI_ORG_ID."""
    base_url = setup.find("OPENAI_BASE_URL")
    key = setup.find("OPENAI_API_KEY") if base_url else setup.require("OPENAI_API_KEY")
    client = openai.OpenAI(
        api_key=key or NO_KEY,
        organization=setup.find("OPENAI_ORG_ID"),
        project=setup.find("OPENAI_PROJECT_ID"),
        base_url=base_url,
        http_client=setup.connections.http_client(),
        max_retries=0,  # ModelDriver's business
    )
    return OpenAiDriver(
        model=setup.model,
        client=client,
        tokenizer=estimating_tokenizer(setup.model, OpenAiTokenizer),
        stream=True,
    )

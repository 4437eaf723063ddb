"""OpenAI's models at Azure; the model is the name of the deployment."""

from collections.abc import Iterator

import openai
from griptape.common import DeltaMessage
from griptape.drivers.prompt.openai import AzureOpenAiChatPromptDriver
from griptape.tokenizers import OpenAiTokenizer
from openai import Stream
from openai.types.chat import ChatCompletionChunk

from worker.executors.providers.openai import ReasoningModels, complete
from worker.executors.providers.setup import Setup
from worker.executors.tokenizer import estimating_tokenizer

API_VERSION = "2024-10-21"  # the framework's default; the first that reports usage while streaming


class AzureOpenAiDriver(ReasoningModels, AzureOpenAiChatPromptDriver):
    """The framework's driver, but an answer that was cut off is no answer."""

    def _to_delta_message_stream(self, result: Stream[ChatCompletionChunk]) -> Iterator[DeltaMessage]:
        return super()._to_delta_message_stream(complete(result))


def build(setup: Setup) -> AzureOpenAiDriver:
    """Make the driver, from AZURE_OPENAI_ENDPOINT, …_API_KEY or …_AD_TOKEN, and OPENAI_API_VERSION."""
    endpoint = setup.require("AZURE_OPENAI_ENDPOINT")
    setup.require("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN")
    api_version = setup.find("OPENAI_API_VERSION") or API_VERSION
    client = openai.AzureOpenAI(
        api_key=setup.find("AZURE_OPENAI_API_KEY"),
        azure_ad_token=setup.find("AZURE_OPENAI_AD_TOKEN"),
        azure_endpoint=endpoint,
        azure_deployment=setup.model,
        api_version=api_version,
        http_client=setup.connections.http_client(),
        max_retries=0,  # ModelDriver's business
    )
    return AzureOpenAiDriver(
        model=setup.model,
        azure_endpoint=endpoint,
        api_version=api_version,
        client=client,
        tokenizer=estimating_tokenizer(setup.model, OpenAiTokenizer),
        stream=True,
    )

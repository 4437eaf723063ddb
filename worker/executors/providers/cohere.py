"""Cohere."""

from collections.abc import Iterator
from typing import Any, cast

import cohere
import httpx
from griptape.common import DeltaMessage, PromptStack
from griptape.drivers.prompt.cohere import CoherePromptDriver
from griptape.tokenizers import CohereTokenizer

from worker.executors.providers.completeness import checked
from worker.executors.providers.setup import Setup
from worker.executors.tokenizer import estimating_tokenizer


class CohereClient(cohere.ClientV2):
    """The library's client; it notes what Cohere counts, of which the framework knows an older form."""

    usage = DeltaMessage.Usage()

    def chat_stream(self, *args: Any, **kwargs: Any) -> Any:
        return checked(super().chat_stream(*args, **kwargs), self._is_last)

    def _is_last(self, event: Any) -> bool:
        if event.type != "message-end":
            return False
        usage = event.delta.usage if event.delta else None
        if usage is not None and usage.tokens is not None:
            self.usage = DeltaMessage.Usage(
                input_tokens=usage.tokens.input_tokens, output_tokens=usage.tokens.output_tokens
            )
        return True


class CohereDriver(CoherePromptDriver):
    """The framework's driver, and what its client notes."""

    def try_stream(self, prompt_stack: PromptStack) -> Iterator[DeltaMessage]:
        yield from super().try_stream(prompt_stack)
        yield DeltaMessage(usage=cast("CohereClient", self.client).usage)


def build(setup: Setup) -> CohereDriver:
    """Make the driver, from COHERE_API_KEY or CO_API_KEY, and CO_API_URL."""
    key = setup.require("COHERE_API_KEY", "CO_API_KEY")
    http_client = httpx.Client(**setup.connections.client_options())
    setup.connections.close_at_end(http_client.close)
    client = CohereClient(
        key,
        base_url=setup.find("CO_API_URL"),
        httpx_client=http_client,
        max_retries=0,  # ModelDriver's business
        log_warning_experimental_features=False,
    )
    return CohereDriver(
        model=setup.model,
        api_key=key,
        client=client,
        tokenizer=estimating_tokenizer(setup.model, CohereTokenizer),
        stream=True,
    )

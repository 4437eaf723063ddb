"""Anthropic."""

from collections.abc import Iterator
from typing import Any, Final

import anthropic
from griptape.common import DeltaMessage, PromptStack
from griptape.drivers.prompt.anthropic import AnthropicPromptDriver
from griptape.tokenizers import AnthropicTokenizer

from worker.executors.providers.completeness import checked, counts_tokens
from worker.executors.providers.setup import Setup
from worker.executors.tokenizer import estimating_tokenizer

_SAMPLING: Final = ("temperature", "top_p", "top_k")


class AnthropicDriver(AnthropicPromptDriver):
    """The framework's driver, but an answer that was cut off is no answer."""

    def _base_params(self, prompt_stack: PromptStack) -> dict[str, Any]:
        """The request; Anthropic's library takes the parameters of sampling no longer by name."""
        params: dict[str, Any] = super()._base_params(prompt_stack)
        sampling = {name: params.pop(name) for name in _SAMPLING if name in params}
        return {**params, "extra_body": {**sampling, **params.get("extra_body", {})}}

    def try_stream(self, prompt_stack: PromptStack) -> Iterator[DeltaMessage]:
        return checked(super().try_stream(prompt_stack), counts_tokens)


def build(setup: Setup) -> AnthropicDriver:
    """Make the driver, from ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN, and ANTHROPIC_BASE_URL."""
    setup.require("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")
    client = anthropic.Anthropic(
        api_key=setup.find("ANTHROPIC_API_KEY"),
        auth_token=setup.find("ANTHROPIC_AUTH_TOKEN"),
        http_client=setup.connections.http_client(),
        max_retries=0,  # ModelDriver's business
    )
    tokenizer = estimating_tokenizer(setup.model, AnthropicTokenizer)
    return AnthropicDriver(
        model=setup.model,
        client=client,
        tokenizer=tokenizer,
        max_tokens=tokenizer.max_output_tokens,  # the framework's 1,000 would cut answers short
        stream=True,
    )

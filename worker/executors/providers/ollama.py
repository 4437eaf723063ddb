"""Ollama, at OLLAMA_HOST or on this machine."""

from collections.abc import Iterator
from typing import Any, Final, cast

import ollama
from griptape.common import DeltaMessage, PromptStack
from griptape.drivers.prompt.ollama import OllamaPromptDriver

from worker.executors.providers.completeness import checked
from worker.executors.providers.setup import Setup
from worker.executors.tokenizer import estimating_tokenizer

INPUT_LIMIT: Final = 4_096
"""Tokens; what Ollama gives a model unless it is set up otherwise. Beyond that it drops text by itself."""


class OllamaClient(ollama.Client):
    """The library's client, which is asked for streams only; it notes what Ollama counts."""

    usage = DeltaMessage.Usage()

    def chat(self, *args: Any, **kwargs: Any) -> Any:
        return checked(super().chat(*args, **kwargs), self._is_last)

    def _is_last(self, chunk: ollama.ChatResponse) -> bool:
        if chunk.done:
            self.usage = DeltaMessage.Usage(
                input_tokens=chunk.prompt_eval_count, output_tokens=chunk.eval_count
            )
        return bool(chunk.done)


class OllamaDriver(OllamaPromptDriver):
    """The framework's driver, which does not pass on what Ollama counts."""

    def try_stream(self, prompt_stack: PromptStack) -> Iterator[DeltaMessage]:
        yield from super().try_stream(prompt_stack)
        yield DeltaMessage(usage=cast("OllamaClient", self.client).usage)


def build(setup: Setup) -> OllamaDriver:
    """Make the driver, from OLLAMA_HOST and OLLAMA_API_KEY."""
    key = setup.find("OLLAMA_API_KEY")
    headers = {"authorization": f"Bearer {key}"} if key else {}
    client = OllamaClient(headers=headers, **setup.connections.client_options())
    setup.connections.close_at_end(client.close)
    return OllamaDriver(
        model=setup.model,
        client=client,
        tokenizer=estimating_tokenizer(setup.model, input_limit=INPUT_LIMIT),
        stream=True,
    )

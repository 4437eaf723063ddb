"""Token estimates without a vocabulary, which would have to be downloaded."""

from typing import Final

from attrs import define
from griptape.tokenizers import BaseTokenizer

from worker.executors.griptape.limits import ModelLimits

BYTES_PER_TOKEN: Final = 4
"""Of UTF-8: close for English, and about one token for each character of Chinese."""


@define(kw_only=True)
class EstimatingTokenizer(BaseTokenizer):
    """Estimates tokens: to fit a conversation into a model, and where a provider reports no usage."""

    def count_tokens(self, text: str) -> int:
        return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)


def estimating_tokenizer(model: str, limits: ModelLimits) -> EstimatingTokenizer:
    """Make the tokenizer of a model."""
    return EstimatingTokenizer(model=model, max_input_tokens=limits.window, max_output_tokens=limits.output)

"""Counting tokens without a vocabulary: none may have to be fetched from the network."""

from typing import Final

from attrs import define
from griptape.tokenizers import BaseTokenizer

BYTES_PER_TOKEN: Final = 4
"""Of UTF-8: close for English, and about one token for each character of Chinese."""

UNKNOWN_INPUT_LIMIT: Final = 100_000
"""Tokens. Too low a guess would silently drop the beginning of a conversation; one too high is refused
by the provider, in words."""

UNKNOWN_OUTPUT_LIMIT: Final = 4_096  # tokens


@define(kw_only=True)
class EstimatingTokenizer(BaseTokenizer):
    """Estimates; used to fit a conversation into a model, and where a provider reports no usage."""

    def count_tokens(self, text: str) -> int:
        return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)


def estimating_tokenizer(
    model: str,
    known_limits: type[BaseTokenizer] | None = None,
    *,
    input_limit: int = UNKNOWN_INPUT_LIMIT,
) -> EstimatingTokenizer:
    """Make the tokenizer of a model.

    Args:
        model: its name at the provider.
        known_limits: the framework's tokenizer that lists the limits of such models.
        input_limit: tokens that fit into a model that is not listed.
    """
    inputs = known_limits.MODEL_PREFIXES_TO_MAX_INPUT_TOKENS if known_limits else {}
    outputs = known_limits.MODEL_PREFIXES_TO_MAX_OUTPUT_TOKENS if known_limits else {}
    return EstimatingTokenizer(
        model=model,
        max_input_tokens=_limit(inputs, model, input_limit),
        max_output_tokens=_limit(outputs, model, UNKNOWN_OUTPUT_LIMIT),
    )


def _limit(limits: dict[str, int], model: str, default: int) -> int:
    """The limit of the first name, most special first, that the model's name contains."""
    return next((limit for name, limit in limits.items() if name in model), default)

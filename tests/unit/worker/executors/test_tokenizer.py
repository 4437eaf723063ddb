"""Counting tokens without a vocabulary."""

import pytest
from griptape.tokenizers import AnthropicTokenizer, OpenAiTokenizer

from worker.executors.tokenizer import UNKNOWN_INPUT_LIMIT, estimating_tokenizer


@pytest.mark.parametrize(
    ("text", "tokens"), [("", 0), ("a", 1), ("four", 1), ("five!", 2), ("日本語", 3), ("\ud800", 1)]
)
def test_about_four_bytes_are_a_token(text, tokens) -> None:
    assert estimating_tokenizer("any").count_tokens(text) == tokens


def test_limits_are_the_frameworks_where_it_knows_them() -> None:
    assert estimating_tokenizer("gpt-4o-mini", OpenAiTokenizer).max_input_tokens == 128_000
    assert estimating_tokenizer("claude-sonnet-4-5", AnthropicTokenizer).max_output_tokens == 16_384
    assert estimating_tokenizer("llama", OpenAiTokenizer).max_input_tokens == UNKNOWN_INPUT_LIMIT
    assert estimating_tokenizer("llama", input_limit=4_096).max_input_tokens == 4_096

"""Counting tokens without a vocabulary."""

import pytest

from worker.executors.griptape.limits import ModelLimits
from worker.executors.griptape.tokenizer import estimating_tokenizer

LIMITS = ModelLimits(window=1_000, output=10)


@pytest.mark.parametrize(
    ("text", "tokens"), [("", 0), ("a", 1), ("four", 1), ("five!", 2), ("日本語", 3), ("\ud800", 1)]
)
def test_about_four_bytes_are_a_token(text, tokens) -> None:
    assert estimating_tokenizer("any", LIMITS).count_tokens(text) == tokens

"""What is known of models."""

import json
import uuid

import pytest

from worker.executors.base import InvalidConfigurationError
from worker.executors.griptape.limits import ModelLimits, limits_of


@pytest.mark.parametrize(
    ("provider", "model", "window", "output"),
    [
        ("openai", "gpt-4o-mini", 128_000, 16_384),
        ("openai", "gpt-4", 8_192, 4_096),
        ("openai", "gpt-4-turbo-2024-04-09", 128_000, 4_096),
        ("openai", "openai/gpt-4o", 128_000, 16_384),  # of a gateway
        ("openai", "o1-2024-12-17", 200_000, 100_000),
        ("anthropic", "claude-sonnet-4-5", 200_000, 32_000),
        ("anthropic", "claude-sonnet-5", 200_000, 32_000),
        ("anthropic", "claude-3-haiku-20240307", 200_000, 4_096),
        ("amazon-bedrock", "eu.anthropic.claude-haiku-4-5-v1:0", 200_000, 32_000),
        ("ollama", "some-model", 4_096, 4_096),
        ("google", "Gemini-3-pro", 1_000_000, 65_536),
    ],
)
def test_the_longest_name_that_a_models_holds_counts(provider, model, window, output) -> None:
    assert limits_of(provider, model, {}) == ModelLimits(window, output)


def test_a_model_that_nobody_knows_has_limits_that_are_sane() -> None:
    found = limits_of("openai", "acme-1", {})

    assert found.window >= 32_000
    assert found.output >= 16_384


def test_an_operator_knows_better(tmp_path) -> None:
    table = tmp_path / "models.json"
    table.write_text(json.dumps({"acme": {"window": 5}, "gpt-4o-mini": {"output": 7}}))
    options = {"model_limits": table}

    assert limits_of("openai", "acme-1", options).window == 5
    assert limits_of("openai", "acme-1", options).output == limits_of("openai", "acme-1", {}).output
    assert limits_of("openai", "gpt-4o-mini", options) == ModelLimits(128_000, 7)


def test_an_operator_says_it_of_all_models() -> None:
    options = {"model_window": 11, "model_max_tokens": 12}

    assert limits_of("openai", "gpt-4o", options) == ModelLimits(11, 12)
    assert limits_of("openai", "gpt-4o", {"model_window": None, "model_max_tokens": None}).window == 128_000


def test_an_operator_says_it_of_an_assistant(tmp_path) -> None:
    ours, other = uuid.uuid4(), uuid.uuid4()
    table = tmp_path / "models.json"
    table.write_text(json.dumps({f"assistant/{ours}": {"window": 5, "output": 6, "note": "x"}}))
    options = {"model_limits": table, "model_max_tokens": 12}

    assert limits_of("openai", "gpt-4o", options, assistant_id=ours) == ModelLimits(5, 6)
    assert limits_of("openai", "gpt-4o", options, assistant_id=other) == ModelLimits(128_000, 12)
    assert limits_of("openai", f"assistant/{ours}", options).window != 5


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 5}', '{"a": {"window": "much"}}', None])
def test_a_table_that_is_none_is_our_configuration(tmp_path, content) -> None:
    table = tmp_path / "models.json"
    if content is not None:
        table.write_text(content)

    with pytest.raises(InvalidConfigurationError, match="limits cannot be read"):
        limits_of("openai", "acme-1", {"model_limits": table})

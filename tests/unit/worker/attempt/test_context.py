"""From a claimed run to what its executor gets."""

from pathlib import Path

from shared.settings import Settings
from worker.attempt.context import executor_options


def test_what_an_operator_sets_of_models_reaches_the_executor() -> None:
    settings = Settings.model_validate(
        {
            "database_url": "postgresql://nowhere/none",
            "redis_url": "redis://nowhere/0",
            "model_patience": "12",
            "model_silence": "900",
            "model_max_steps": 3,
            "model_tool_output": 5_000,
            "model_max_tokens": 70,
            "model_window": 8_000,
            "model_limits": "/etc/models.json",
        }
    )

    assert executor_options(settings) == {
        "echo_words_per_second": 0,
        "model_patience_seconds": 12,
        "model_silence_seconds": 900,
        "max_steps": 3,
        "max_tool_output": 5_000,
        "model_max_tokens": 70,
        "model_window": 8_000,
        "model_limits": Path("/etc/models.json"),
    }

"""From a claimed run to what its executor gets."""

import uuid
from datetime import timedelta
from pathlib import Path

from shared.settings import Settings
from worker.cancellation import CancelToken
from worker.context import Claimed, Means, build_context

CLAIMED = Claimed(
    run_id=uuid.uuid4(),
    organization_id=uuid.uuid4(),
    attempt=1,
    assistant_id=uuid.uuid4(),
    name="Test",
    input="Hi",
    args=(),
    model=None,
    stream=True,
    max_duration=None,
    rulesets=(),
    history=(),
    history_left_out=0,
    llm_params={},
    guardrails={},
    structure=None,
    callable_structures=(),
    unserved=(),
)


def refuse(*_: object) -> None:
    raise AssertionError


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

    context = build_context(settings, CLAIMED, CancelToken(), Means(refuse, refuse))  # type: ignore[arg-type]  # neither is called

    assert context.max_duration == settings.max_duration > timedelta(0)
    assert context.options == {
        "echo_words_per_second": 0,
        "model_patience_seconds": 12,
        "model_silence_seconds": 900,
        "max_steps": 3,
        "max_tool_output": 5_000,
        "model_max_tokens": 70,
        "model_window": 8_000,
        "model_limits": Path("/etc/models.json"),
    }

"""A stack that tells everything: all that can be logged, and the spans of all runs."""

import pytest

from tests.support.collector import Collector
from tests.support.stack import environment, running_stack

MODEL_KEY = "sk-planted-key-of-a-provider"


@pytest.fixture(scope="module")
def collector(kept):
    return kept.get("collector", Collector)


@pytest.fixture(scope="module")
def model_key():
    """The key that the stack has for its provider."""
    return MODEL_KEY


@pytest.fixture(scope="module")
def telling_stack(kept, tmp_path_factory, llm, collector):
    """One `runyard dev` for the tests of what processes tell; it sends spans to the collector."""
    env = environment(
        RUNYARD_LOG_FORMAT="json",
        RUNYARD_LOG_LEVEL="DEBUG",  # whatever may be said is said
        RUNYARD_LOG_LEVELS="sqlalchemy=debug,celery.worker.strategy=debug,celery.app.trace=debug",
        RUNYARD_MODEL_PATIENCE="1",
        RUNYARD_TRACES_ENDPOINT=collector.url,
        RUNYARD_TRACES_HEADERS="x-planted=of%20the%20collector",
        RUNYARD_MAX_ATTEMPTS_RUNNING="3",
        OPENAI_BASE_URL=llm.openai_url,
        OPENAI_API_KEY=MODEL_KEY,
    )
    return kept.get(
        "telling stack", lambda: running_stack(tmp_path_factory.mktemp("told") / "stack", env=env)
    )

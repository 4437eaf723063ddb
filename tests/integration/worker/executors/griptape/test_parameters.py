"""A run's `llm_params`: what reaches the provider, and what is said of the rest."""

import pytest

from worker.executors.base import Failed, Succeeded
from worker.executors.griptape.parameters import SETTINGS

GIVEN = {
    "temperature": 0.25,
    "max_new_tokens": 70,
    "top_p": 0.5,
    "top_k": 5,
    "random_seed": 9,
    "stop_sequences": ["END"],
    "repetition_penalty": 1.5,
    "typical_p": 0.75,
}

SENT = {
    "openai": {"temperature": 0.25, "max_tokens": 70, "top_p": 0.5, "seed": 9, "stop": ["END"]},
    "azure-openai": {"temperature": 0.25, "max_tokens": 70, "top_p": 0.5, "seed": 9, "stop": ["END"]},
    "anthropic": {"max_tokens": 70, "top_p": 0.5, "top_k": 5, "stop_sequences": ["END"]},
    "google": {"temperature": 0.25, "maxOutputTokens": 70, "topP": 0.5, "topK": 5, "seed": 9},
    "cohere": {
        "temperature": 0.25,
        "max_tokens": 70,
        "p": 0.5,
        "k": 5,
        "seed": 9,
        "stop_sequences": ["END"],
    },
    "ollama": {
        "temperature": 0.25,
        "num_predict": 70,
        "top_p": 0.5,
        "top_k": 5,
        "typical_p": 0.75,
        "repeat_penalty": 1.5,
        "seed": 9,
        "stop": ["END"],
    },
    "amazon-bedrock": {"temperature": 0.25, "maxTokens": 70},
}
"""What each provider is to be sent, by its own names, wherever in the request it has them."""

IGNORED = {
    "openai": ["repetition_penalty", "top_k", "typical_p"],
    "azure-openai": ["repetition_penalty", "top_k", "typical_p"],
    "anthropic": ["random_seed", "repetition_penalty", "temperature", "typical_p"],
    "google": ["repetition_penalty", "stop_sequences", "typical_p"],
    "cohere": ["repetition_penalty", "typical_p"],
    "ollama": [],
    "amazon-bedrock": [
        *("random_seed", "repetition_penalty", "stop_sequences", "top_k", "top_p", "typical_p"),
    ],
}

HOLDERS = ("generationConfig", "options", "inferenceConfig")


def sent(stub):
    """The parameters of the last request, wherever they are in it."""
    body = stub.records.requests[-1]["body"]
    inner = next((body[name] for name in HOLDERS if name in body), {})
    return {**body, **inner}


def test_every_provider_with_settings_is_looked_at():
    assert set(SENT) == set(IGNORED) == set(SETTINGS)


@pytest.mark.parametrize("provider", SENT)
def test_what_a_driver_has_a_setting_for_reaches_the_provider_and_the_rest_is_named(
    stub, execution, provider
):
    answered = execution(f"{provider}/words-1", llm_params=GIVEN).run()

    assert isinstance(answered.outcome, Succeeded), answered.outcome
    assert SENT[provider].items() <= sent(stub).items()
    assert answered.outcome.detail.get("ignored_llm_params", []) == IGNORED[provider]


def test_a_reasoning_model_is_given_its_limit_by_its_own_name_and_no_sampling(stub, execution):
    answered = execution("openai/o3", llm_params=GIVEN).run()

    request = sent(stub)
    assert request["max_completion_tokens"] == 70
    assert not {"max_tokens", "temperature", "top_p", "stop"} & request.keys()
    assert {"temperature", "top_p", "stop_sequences"} <= set(answered.outcome.detail["ignored_llm_params"])


def test_what_a_provider_would_refuse_is_left_out_and_named(stub, execution):
    params = {"max_new_tokens": 0, "stop_sequences": list("abcde"), "top_p": None}
    answered = execution("openai/words-1", llm_params=params).run()

    request = sent(stub)
    assert not {"max_tokens", "top_p", "stop"} & request.keys()
    assert answered.outcome.detail["ignored_llm_params"] == ["max_new_tokens", "stop_sequences"]


def test_a_failure_names_them_too(stub, execution):
    failed = execution("openai/garbage", llm_params={"beam_width": 2}).run()

    assert isinstance(failed.outcome, Failed)
    assert failed.outcome.detail == {"ignored_llm_params": ["beam_width"]}


def test_the_offline_model_has_no_settings(execution):
    answered = execution("echo", llm_params={"temperature": 1}).run()

    assert answered.outcome.detail == {"ignored_llm_params": ["temperature"]}


def test_lists_of_what_does_not_exist_here_are_named(execution):
    answered = execution("echo", unserved=("tool_ids",)).run()

    assert answered.outcome.detail == {"ignored_resources": ["tool_ids"]}

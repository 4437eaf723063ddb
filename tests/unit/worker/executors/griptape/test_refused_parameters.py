"""Which part of a request a refusal is about."""

import json

import pytest

from worker.executors.griptape.refused_parameters import (
    forget,
    is_unsupported,
    named,
    refused_by,
    remember,
)

SENT = {"temperature", "stop", "max_tokens", "stream_options", "stream", "top_p"}


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"error": {"message": "Unsupported value.", "param": "temperature"}}, {"temperature"}),
        ({"error": {"message": "Model m does not support parameter stop.", "param": None}}, {"stop"}),
        ({"error": {"message": "Unsupported parameter: 'top_p'"}}, {"top_p"}),
        ({"error": {"message": "`temperature` is deprecated for this model."}}, {"temperature"}),
        ({"error": {"message": "Unknown field stream_options"}}, {"stream_options"}),
        ({"error": {"message": "stream_options: Extra inputs are not permitted"}}, {"stream_options"}),
        ({"message": {"detail": [{"loc": ["body", "stream_options"], "msg": "no"}]}}, {"stream_options"}),
        ({"detail": [{"loc": ["body", "stop"], "msg": "Extra inputs are not permitted"}]}, {"stop"}),
        ({"error": {"message": "max_tokens is not supported with this model"}}, {"max_tokens"}),
        ({"message": "The model is unsupported for streaming"}, {"stream"}),
        ({"message": "This model doesn't support tool use in streaming mode."}, {"stream"}),
        ({"error": {"message": "Your organization must be verified.", "param": "stream"}}, {"stream"}),
        ({"error": {"message": "Please stop sending so many tokens at that temperature."}}, set()),
        ({"error": {"message": "Your prompt is too long."}}, set()),
    ],
)
def test_a_refusal_names_what_it_is_about(body, names) -> None:
    assert named(SENT, json.dumps(body), body) == names


@pytest.mark.parametrize(
    ("words", "is_so"),
    [
        ("Unsupported parameter: 'stop'", True),
        ("does not support parameter stop", True),
        ("Extra inputs are not permitted", True),
        ("Unrecognized request argument supplied: stop", True),
        ("temperature: must be at most 2", False),
        ("Invalid 'temperature': decimal above maximum value", False),
    ],
)
def test_a_value_is_told_from_a_parameter(words, is_so) -> None:
    assert is_unsupported(words) == is_so


def test_what_is_learnt_of_a_model_is_not_of_another() -> None:
    forget()
    remember(("openai", "a", "m"), {"stop"})
    remember(("openai", "a", "m"), {"top_p"})

    assert refused_by(("openai", "a", "m")) == {"stop", "top_p"}
    assert refused_by(("openai", "b", "m")) == refused_by(("openai", "a", "n")) == set()
    forget()

"""What an operator lets callers ask for."""

import uuid
from datetime import timedelta

import pytest
from pydantic import ValidationError

from shared.errors import InvalidRequestError
from shared.settings import Settings
from shared.terms import UNBOUNDED, ModelRules, Terms

OWN, OTHER = (uuid.UUID(int=number) for number in (1, 2))
NEEDED = {"database_url": "postgresql://nowhere/none", "redis_url": "redis://nowhere"}


@pytest.mark.parametrize(
    ("text", "organization", "model", "is_allowed"),
    [
        ("", OWN, "openai/gpt-5", True),
        (" ; ", OWN, "openai/gpt-5", True),
        ("openai/*, echo", OWN, "openai/gpt-5", True),
        ("openai/*, echo", OWN, "echo", True),
        ("openai/*, echo", OWN, "anthropic/claude", False),
        ("openai/*, echo", OWN, "OpenAI/gpt-5", False),
        ("openai/gpt-?", OWN, "openai/gpt-5", True),
        ("openai/gpt-?", OWN, "openai/gpt-5-pro", False),
        ("*", OWN, "anything/at-all", True),
        (f"{OWN}=ollama/*", OWN, "ollama/llama3", True),
        (f"{OWN}=ollama/*", OWN, "openai/gpt-5", False),
        (f"{OWN}=ollama/*", OTHER, "openai/gpt-5", True),
        (f"{OWN.hex} = ollama/* ; * = echo", OWN, "ollama/llama3", True),
        (f"{OWN}=ollama/*; *=echo", OWN, "echo", False),
        (f"{OWN}=ollama/*; *=echo", OTHER, "echo", True),
        (f"{OWN}=ollama/*; echo", OTHER, "ollama/llama3", False),
    ],
)
def test_a_model_is_allowed_by_the_patterns_for_its_organization(
    text, organization, model, is_allowed
) -> None:
    refusal = ModelRules.parse(text).refusal(organization, model)

    assert (refusal is None) is is_allowed


@pytest.mark.parametrize(
    "text", ["Bees=echo", "=echo", "*=", f"{OWN}=", "echo; openai/*", f"{OWN}=a;{OWN}=b", "*=,"]
)
def test_rules_that_make_no_sense_keep_a_process_from_starting(text) -> None:
    with pytest.raises(ValidationError, match="organization"):
        Settings.model_validate({**NEEDED, "models": text})


def test_what_is_refused_is_told_with_what_is_allowed() -> None:
    terms = Settings.model_validate({**NEEDED, "models": "openai/*, echo"}).terms

    with pytest.raises(
        InvalidRequestError, match=r"'x/y' is not allowed here; allowed are: openai/\*, echo\."
    ) as told:
        terms.check(OWN, {"model": "x/y"})
    assert told.value.path == ("model",)


@pytest.mark.parametrize(
    ("name", "cap", "asked", "shown"),
    [
        ("max_duration", timedelta(seconds=90), timedelta(seconds=90.1), "90 s"),
        ("queue_ttl", timedelta(hours=1), timedelta(days=2), "3600 s"),
        ("max_attempts", 3, 4, "3"),
    ],
)
def test_a_limit_above_its_cap_is_refused_and_one_that_is_stored_is_lowered(name, cap, asked, shown) -> None:
    terms = Terms(caps={name: cap})
    terms.check(OWN, {name: cap, "other": 1})

    with pytest.raises(
        InvalidRequestError, match=f"{name} is {shown} at the most .RUNYARD_{name.upper()}_CAP"
    ):
        terms.check(OWN, {name: asked})
    assert terms.capped({name: asked, "other": None}) == {name: cap, "other": None}
    assert terms.capped({name: None}) == {name: None}
    assert UNBOUNDED.capped({name: asked}) == {name: asked}

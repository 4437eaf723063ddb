"""Refuses variables that would steer what executes a program, where they come in."""

from collections.abc import Sequence

from shared.errors import InvalidRequestError
from shared.models import JsonObject
from shared.structures.variables import VariableRule


def check_given(rule: VariableRule, variables: Sequence[JsonObject]) -> None:
    """Check the variables of a request.

    Raises:
        InvalidRequestError: one is refused; it is named.
    """
    for place, reason in rule.refusals(variables).items():
        raise InvalidRequestError(reason, path=("body", "env_vars", place, "name"))


def check_stored(rule: VariableRule, variables: Sequence[JsonObject]) -> None:
    """Check the variables that a structure has, perhaps since before there was a rule, as it is to run.

    Raises:
        InvalidRequestError: one is refused; it is named.
    """
    if (reason := rule.first_refusal(variables)) is not None:
        raise InvalidRequestError(f"The structure cannot run: {reason}")

"""An executor and a guardrail of another distribution, as docs/extending.md shows them."""

import re
from collections.abc import Sequence

from runyard.executors import (
    Emit,
    Failed,
    InvalidConfigurationError,
    Outcome,
    Reason,
    RunContext,
    Succeeded,
    finish_prompt,
    text_artifact,
    text_chunk,
)
from runyard.guardrails import Finding


def execute(context: RunContext, emit: Emit) -> Outcome:
    """Answer with the input, word by word: `toy/upper` in capitals, `toy/lower` in small letters."""
    _, _, model = context.model.partition("/")
    if model not in {"upper", "lower"}:
        raise InvalidConfigurationError(f"There is no toy {model!r}: the toys are upper and lower.")
    prompt = " ".join(filter(None, (context.input, *context.args)))
    if not prompt:
        return Failed("The run has no input.", Reason.MODEL_REFUSED)
    words = getattr(prompt, model)().split()
    for word in words:
        context.token.raise_if_cancelled()
        emit(text_chunk(f"{word} "))
    emit(finish_prompt(context.model, input_tokens=len(prompt.split()), output_tokens=len(words)))
    return Succeeded(text_artifact(" ".join(words)), prompt=prompt)


def find_cats(text: str) -> Sequence[Finding]:
    """Find the word `cat`."""
    return [Finding(match.start(), match.end(), "CAT", 1.0) for match in re.finditer(r"\bcats?\b", text)]

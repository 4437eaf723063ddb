"""How an answer ended, read from each provider's own words for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final


class How(Enum):
    """What the end of an answer makes of it."""

    COMPLETE = "complete"
    CUT = "cut"  # what came is right as far as it goes
    REFUSED = "refused"  # by the model, or by what filters it
    BROKEN = "broken"  # what came is not to be relied on


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of an answer, and the provider's word for it."""

    how: How
    word: str


_WORDS: Final[Mapping[How, str]] = {
    How.CUT: """
        length max_tokens max_output_tokens model_length model_context_window_exceeded context_length
        context_length_exceeded max_context_length token_limit limit abort aborted cancelled canceled
        interrupted timeout time_limit insufficient_system_resource error_limit pause_turn incomplete
    """,
    How.REFUSED: """
        content_filter content_filtered refusal refused safety recitation blocklist prohibited_content spii
        image_safety image_prohibited_content image_recitation guardrail_intervened error_toxic sensitive
        moderation blocked jailbreak model_armor language
    """,
    How.BROKEN: """
        error malformed_function_call unexpected_tool_call malformed_model_output malformed_tool_use
        malformed_response network_error too_many_tool_calls missing_thought_signature other
        unknown_error server_error no_image load unload
    """,
}
"""In lower case. Whatever is not here ends an answer that is complete: there are many words for that."""

_HOW: Final[Mapping[str, How]] = {word: how for how, words in _WORDS.items() for word in words.split()}
_NO_END: Final = frozenset({"", "null", "none", "finish_reason_unspecified"})


def ending(word: object) -> Ending | None:
    """What a provider's reason to finish means; None if it gives none."""
    if not isinstance(word, str) or word.lower() in _NO_END:
        return None
    return Ending(_HOW.get(word.lower().replace("-", "_"), How.COMPLETE), word)

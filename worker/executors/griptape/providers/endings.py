"""Finish reasons: what each provider's word for the end of an answer means."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final


class How(Enum):
    """The meaning of a finish reason."""

    COMPLETE = "complete"
    CUT = "cut"  # what came is right as far as it goes
    REFUSED = "refused"  # by the model, or by what filters it
    BROKEN = "broken"  # what came is not to be relied on


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of an answer, and the provider's word for it."""

    how: How
    word: str

    @property
    def is_slip(self) -> bool:
        """Whether the answer ended at a malformed tool call."""
        return self.how is How.BROKEN and _plain(self.word) in _SLIPS


_SLIPS: Final = frozenset(
    {
        *("malformed_function_call", "malformed_tool_call", "malformed_tool_use"),
        *("unexpected_tool_call", "invalid_tool_call", "tool_use_failed"),
    }
)

_WORDS: Final[Mapping[How, str]] = {
    How.CUT: """
        length max_tokens max_output_tokens max_new_tokens max_completion_tokens max_output max_length max_len
        model_length model_context_window_exceeded context_length context_length_exceeded max_context_length
        context_window_exceeded token_limit token_limit_reached out_of_tokens limit truncated abort aborted
        cancelled canceled user_cancel user_cancelled interrupted timeout time_limit max_time
        insufficient_system_resource error_limit pause_turn incomplete
    """,
    How.REFUSED: """
        content_filter content_filtered contentfilter refusal refused safety recitation blocklist
        prohibited_content spii image_safety image_prohibited_content image_recitation guardrail
        guardrails guardrail_intervened error_toxic sensitive moderation blocked jailbreak model_armor
        language content_policy_violation policy_violation unsafe filtered
    """,
    How.BROKEN: f"""
        {" ".join(sorted(_SLIPS))}
        error malformed_model_output malformed_response network_error too_many_tool_calls
        missing_thought_signature other unknown_error server_error internal_error internal_server_error
        system_error provider_error failed failure exception no_image load unload
    """,
}
"""In lower case. Whatever is not here ends an answer that is complete: there are many words for that."""

_HOW: Final[Mapping[str, How]] = {word: how for how, words in _WORDS.items() for word in words.split()}
_NO_END: Final = frozenset({"", "null", "none", "finish_reason_unspecified", "not_finished", "unspecified"})


def ending(word: object) -> Ending | None:
    """Return the meaning of a provider's finish reason; None if it gives none.

    Args:
        word: the reason, or an object that holds it as its `type` or `reason`.
    """
    if isinstance(word, dict):
        word = word.get("type") or word.get("reason")
    if not isinstance(word, str) or _plain(word) in _NO_END:
        return None
    return Ending(_HOW.get(_plain(word), How.COMPLETE), word)


def _plain(word: str) -> str:
    return word.strip().lower().replace("-", "_").replace(" ", "_")

"""Each provider's words for how an answer ended."""

import pytest

from worker.executors.griptape.providers.endings import How, ending

WORDS = {
    How.COMPLETE: ["stop", "end_turn", "stop_sequence", "tool_calls", "tool_use", "function_call", "COMPLETE",
                   "STOP", "STOP_SEQUENCE", "TOOL_CALL", "eos", "eos_token", "done"],
    How.CUT: ["length", "max_tokens", "MAX_TOKENS", "model_length", "model_context_window_exceeded", "abort",
              "insufficient_system_resource", "TIMEOUT", "context_length"],
    How.REFUSED: ["content_filter", "refusal", "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT",
                  "SPII", "guardrail_intervened", "content_filtered", "ERROR_TOXIC", "content-filter"],
    How.BROKEN: ["error", "ERROR", "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "OTHER",
                 "malformed_model_output", "malformed_tool_use", "network_error"],
}  # fmt: skip


@pytest.mark.parametrize(("how", "word"), [(how, word) for how, words in WORDS.items() for word in words])
def test_a_word_means_one_of_four_ends(how, word) -> None:
    found = ending(word)

    assert found is not None
    assert (found.how, found.word) == (how, word)


@pytest.mark.parametrize("nothing", [None, "", "null", "NONE", "FINISH_REASON_UNSPECIFIED", 0, False, {}])
def test_no_word_is_no_end(nothing) -> None:
    assert ending(nothing) is None

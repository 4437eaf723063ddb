"""What a provider is sent: nothing that nobody set, and nothing again that it refuses."""

from itertools import pairwise
from urllib.parse import quote

import pytest

from tests.support import llm_script as wire
from tests.support.llm_script import call, called, refusal, said
from worker.executors.base import Exchange, Failed, InvalidConfigurationError, Succeeded

HI = said("Hi there")


def refuses(name, body=None, status=400):
    """Answer a request that holds a parameter with a refusal of it."""
    body = body or {"error": {"message": f"Unsupported parameter: '{name}' is not supported.", "param": name}}
    return lambda asked: refusal(status, body) if name in asked else None


@pytest.mark.parametrize(
    ("provider", "keys"),
    [
        ("openai", {"model", "messages", "stream", "stream_options"}),
        ("azure-openai", {"model", "messages", "stream", "stream_options"}),
        ("anthropic", {"model", "messages", "stream", "max_tokens"}),
        ("cohere", {"model", "messages", "stream"}),
        ("ollama", {"model", "messages", "stream"}),
        ("google", {"contents"}),
        ("amazon-bedrock", {"messages"}),
    ],
)
def test_a_request_holds_nothing_that_nobody_set(stub, execution, provider, keys) -> None:
    assert isinstance(execution(f"{provider}/words-1").run().outcome, Succeeded)

    assert set(stub.records.requests[-1]["body"]) == keys


def test_with_tools_a_request_holds_them_and_no_more(script, execution, tool) -> None:
    script.replies = [called(call("Sample_run_structure")), HI]

    execution("openai/o4-mini", structures=(tool.as_structure,)).run()

    assert set(script.requests[0]) == {"model", "messages", "stream", "stream_options", "tools"}


@pytest.mark.parametrize(
    "name", ["small/../big", "a?b", "a#b", "../../../other?", "a:b", "a%2Fb", "a\\..\\b"]
)
@pytest.mark.parametrize(
    ("provider", "path"),
    [
        ("google", "/v1/models/{}:streamGenerateContent?alt=sse"),
        ("google/tunedModels", "/v1/tunedModels/{}:streamGenerateContent?alt=sse"),
        ("azure-openai", "/openai/deployments/{}/chat/completions?api-version=2024-10-21"),
        ("amazon-bedrock", "/model/{}/converse-stream"),
    ],
)
def test_the_name_of_a_model_leads_to_no_other_path(script, execution, provider, path, name) -> None:
    script.replies = [said("Hi there")]

    execution(f"{provider}/{name}").run()

    assert script.paths == [path.format(quote(name, safe=""))]


def test_a_name_of_dots_alone_is_no_deployment(script, execution) -> None:
    outcome = execution("azure-openai/..").run().outcome

    assert isinstance(outcome, InvalidConfigurationError)
    assert script.paths == []


def test_what_a_model_refuses_is_left_out_and_remembered(script, execution) -> None:
    extra = {"message": {"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs"}]}}
    script.answering = refuses("stream_options", extra, 422)
    script.replies = [HI]

    assert execution("openai/m").run().output == "Hi there"
    assert execution("openai/m").run().output == "Hi there"
    assert ["stream_options" in each for each in script.requests] == [True, False, False]


def test_what_a_run_set_and_the_model_has_not_is_left_out_and_named(script, execution) -> None:
    script.answering = refuses("temperature")
    script.replies = [HI]

    answered = execution("azure-openai/chat-eu", llm_params={"temperature": 0.5, "top_p": 0.5}).run()

    assert answered.output == "Hi there"
    assert answered.outcome.detail["ignored_llm_params"] == ["temperature"]
    assert script.requests[-1]["top_p"] == 0.5


def test_a_value_that_the_model_refuses_is_the_callers_to_mend(script, execution) -> None:
    body = {"error": {"message": "temperature must be at most 2", "param": "temperature"}}
    script.answering = refuses("temperature", body)

    outcome = execution("openai/m", llm_params={"temperature": 9}).run().outcome

    assert isinstance(outcome, Failed)
    assert "must be at most 2" in outcome.message


def test_a_limit_is_given_by_the_name_that_the_model_takes(script, execution) -> None:
    words = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
    script.answering = refuses("max_tokens", {"error": {"message": words, "param": "max_tokens"}})
    script.replies = [HI]

    answered = execution("azure-openai/chat-eu", llm_params={"max_new_tokens": 70}).run()

    assert answered.output == "Hi there"
    assert script.requests[-1]["max_completion_tokens"] == 70
    assert "ignored_llm_params" not in answered.outcome.detail


def test_a_limit_that_is_too_high_is_lowered_to_what_the_model_allows(script, execution) -> None:
    words = "max_tokens: 32000 > 8192, which is the maximum allowed number of output tokens for m"

    def answer(asked):
        if asked["max_tokens"] > 8192:
            return refusal(
                400, {"type": "error", "error": {"type": "invalid_request_error", "message": words}}
            )
        delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}}
        return wire.named_events({"type": "message_start", "message": {}}, delta, {"type": "message_stop"})

    script.answering = answer

    assert execution("anthropic/claude-x").run().output == "Hi"
    assert [each["max_tokens"] for each in script.requests] == [32_000, 8_192]


@pytest.mark.parametrize("model", ["claude-sonnet-5", "claude-opus-4-1", "claude-haiku-4-5", "claude-next"])
def test_a_model_that_thinks_has_room_for_it(stub, execution, model) -> None:
    execution(f"anthropic/{model}").run()

    assert stub.records.requests[-1]["body"]["max_tokens"] >= 16_384


def test_a_setting_and_a_run_say_how_long_an_answer_may_be(stub, execution) -> None:
    execution("anthropic/m", options={"model_max_tokens": 99}).run()
    execution("anthropic/m", options={"model_max_tokens": 99}, llm_params={"max_new_tokens": 7}).run()

    assert [each["body"]["max_tokens"] for each in stub.records.requests] == [99, 7]


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "Your organization must be verified to stream.", "param": "stream"}},
        {"error": {"message": "Streaming is not supported with this model."}},
    ],
    ids=range(2),
)
def test_where_no_stream_is_allowed_one_plain_answer_is_asked_for(script, execution, body) -> None:
    plain = '{"choices": [{"message": {"content": "Hi there"}, "finish_reason": "stop"}], "usage": {}}'
    script.answering = lambda asked: refusal(400, body) if asked["stream"] else wire.Reply([plain])

    for _ in range(2):
        assert execution("openai/m").run().output == "Hi there"
    assert [each["stream"] for each in script.requests] == [True, False, False]
    assert "stream_options" not in script.requests[-1]


def test_bedrock_is_asked_without_a_stream_where_it_has_none(script, execution) -> None:
    whole = '{"output": {"message": {"content": [{"text": "Hi there"}]}}, "stopReason": "end_turn"}'
    headers = {"Content-Type": "application/json", "x-amzn-errortype": "ValidationException"}

    def next_reply(path, _body):
        if path.endswith("converse-stream"):
            return wire.Reply(['{"message": "The model is unsupported for streaming"}'], 400, headers)
        return wire.Reply([whole], headers={"Content-Type": "application/json"})

    script.next_reply = next_reply

    assert execution("amazon-bedrock/m").run().output == "Hi there"


# --- What was said before


HISTORY = tuple(Exchange(f"question {n}", f"answer {n}") for n in range(4))


@pytest.mark.parametrize(
    "history",
    [
        (Exchange("a", ""), Exchange("b", "c")),
        (Exchange("a", "  \n"), Exchange("b", "")),
        (Exchange("", "b"), Exchange("c", "d")),
        (Exchange("", ""),),
    ],
    ids=range(4),
)
@pytest.mark.parametrize("provider", ["openai", "anthropic", "google", "amazon-bedrock", "cohere", "ollama"])
def test_two_turns_of_one_side_are_one(stub, execution, provider, history) -> None:
    assert isinstance(execution(f"{provider}/words-1", history=history).run().outcome, Succeeded)

    body = stub.records.requests[-1]["body"]
    turns = body.get("messages") or body["contents"]
    roles = [turn["role"] for turn in turns]
    assert roles[0] == roles[-1] == "user"
    assert all(one != other for one, other in pairwise(roles))


@pytest.mark.parametrize(
    "words",
    [
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000.",
        "prompt is too long: 200001 tokens > 200000 maximum",
        "The input token count (9000) exceeds the maximum number of tokens allowed (8192).",
        "Input is too long for requested model.",
        "the request exceeds the available context size",
    ],
)
def test_a_history_that_does_not_fit_is_shortened_once_and_said(script, execution, words) -> None:
    def answer(asked):
        return refusal(400, {"error": {"message": words}}) if len(asked["messages"]) > 5 else None

    script.answering = answer
    script.replies = [HI]

    answered = execution("openai/m", history=HISTORY).run()

    assert answered.output == "Hi there", answered.outcome
    assert answered.outcome.detail["history"] == "shortened"
    assert [message["content"] for message in script.requests[-1]["messages"]] == [
        *("question 2", "answer 2", "question 3", "answer 3"),
        "Hello there",
    ]


@pytest.mark.parametrize("history", [HISTORY, ()])
def test_what_does_not_fit_even_then_fails_in_the_providers_words(script, execution, history) -> None:
    script.replies = [
        refusal(400, {"error": {"message": "maximum context length is 10", "param": "messages"}})
    ]

    outcome = execution("openai/m", history=history).run().outcome

    assert isinstance(outcome, Failed)
    assert "maximum context length" in outcome.message
    assert len(script.requests) == (2 if history else 1)

"""What a model does wrong in a call of a tool, and how much it may do."""

import pytest

from tests.support.llm_script import call, called, named_events, said
from worker.executors.base import Failed, Succeeded
from worker.executors.griptape import question

NAME = "Sample_run_structure"


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (call("get_weather", "{}"), "There is no tool 'get_weather'"),
        (call("weather", "{}"), "There is no tool 'weather'"),
        (call("Sample_other", "{}"), "There is no tool 'Sample_other'"),
        (call("", "{}"), "There is no tool 'unnamed'"),
        (call(NAME, '{"args": ["x"'), "are no JSON object"),
        (call(NAME, '["x"]'), "are no JSON object"),
        (call(NAME, "null"), "do not suit the tool"),
        (call(NAME, "x"), "are no JSON object"),
        (call(NAME, "{}"), "do not suit the tool"),
        (call(NAME, '{"args": "x"}'), "do not suit the tool"),
        (call(NAME, '{"args": [1]}'), "do not suit the tool"),
        (call(NAME, '{"args": ["x"], "more": 1}'), "do not suit the tool"),
    ],
    ids=range(12),
)
def test_a_slip_is_told_to_the_model_which_goes_on(script, execution, tool, made, told) -> None:
    script.replies = [called(made), said("Hi there")]

    executed = execution("openai/m", structures=(tool.as_structure,)).run()

    assert isinstance(executed.outcome, Succeeded), executed.outcome
    assert executed.output == "Hi there"
    assert tool.calls == []
    *_, calling, result = script.requests[1]["messages"]
    assert result["tool_call_id"] == calling["tool_calls"][0]["id"]
    assert told in result["content"]


def test_a_slip_does_not_keep_another_call_from_being_made(script, execution, tool) -> None:
    script.replies = [called(call("nothing"), call(NAME, index=1, id="c2")), said("Hi there")]

    executed = execution("openai/m", structures=(tool.as_structure,)).run()

    assert executed.output == "Hi there"
    assert tool.calls == [["x"]]
    *_, wrong, right = [message["content"] for message in script.requests[1]["messages"]]
    assert "There is no tool 'nothing'" in wrong
    assert "the tool's answer" in right


def test_arguments_that_the_limit_cut_are_told_as_such(script, execution, tool) -> None:
    script.replies = [called(call(NAME, '{"args": ["a long'), finish="length"), said("Hi there")]

    execution("openai/m", structures=(tool.as_structure,)).run()

    assert "cut off by the limit of tokens" in script.requests[1]["messages"][-1]["content"]


def test_a_model_without_tools_that_calls_one_is_told(script, execution) -> None:
    script.replies = [called(call("get_weather")), said("Hi there")]

    assert execution("openai/m").run().output == "Hi there"


def test_a_model_that_has_called_often_enough_is_asked_once_more_without_tools(
    script, execution, tool
) -> None:
    script.answering = lambda asked: called(call(NAME)) if asked.get("tools") else said("Enough.")

    executed = execution("openai/m", structures=(tool.as_structure,), options={"max_steps": 3}).run()

    assert executed.output == "Enough."
    assert len(tool.calls) == 3
    assert executed.outcome.detail["steps"] == "exhausted"
    assert "tools" not in script.requests[-1]
    assert script.requests[-1]["messages"][-1]["role"] == "user"


def test_claude_keeps_the_tools_it_has_called_and_may_not_call_them(script, execution, tool) -> None:
    used = {"type": "tool_use", "id": "t1", "name": NAME, "input": {"args": ["x"]}}

    def answer(asked):
        may_call = asked.get("tool_choice") != {"type": "none"}
        block = used if may_call else {"type": "text", "text": "Enough."}
        return named_events(
            {"type": "message_start", "message": {}},
            {"type": "content_block_start", "index": 0, "content_block": block},
            {"type": "message_stop"},
        )

    script.answering = answer

    executed = execution("anthropic/m", structures=(tool.as_structure,), options={"max_steps": 1}).run()

    assert executed.output == "Enough."
    assert script.requests[-1]["tools"]


def test_a_model_that_calls_even_then_fails_the_run(script, execution, tool) -> None:
    script.answering = lambda _asked: called(call(NAME))

    executed = execution("openai/m", structures=(tool.as_structure,), options={"max_steps": 2}).run()

    assert isinstance(executed.outcome, Failed)
    assert "called tools 2 times" in executed.outcome.message
    assert len(script.requests) == 4


def test_a_model_that_babbles_calls_has_the_first_of_them_made(script, execution, tool, monkeypatch) -> None:
    monkeypatch.setattr(question, "MAX_CALLS", 3)
    calls = [call(NAME, index=number, id=f"c{number}") for number in range(5)]
    script.replies = [called(*calls), said("Hi there")]

    executed = execution("openai/m", structures=(tool.as_structure,)).run()

    assert executed.output == "Hi there"
    assert len(tool.calls) == 3
    results = [one["content"] for one in script.requests[1]["messages"] if one["role"] == "tool"]
    assert results == [tool.gives] * 3 + ["This call is not made: an answer may call tools 3 times."] * 2


def test_a_huge_output_of_a_tool_is_cut_with_a_note(script, execution, tool) -> None:
    tool.gives = "x" * 1_000
    script.replies = [called(call(NAME)), said("Hi there")]

    execution("openai/m", structures=(tool.as_structure,), options={"max_tool_output": 100}).run()

    shown = script.requests[1]["messages"][-1]["content"]
    assert shown.startswith("x" * 100 + "\n[The rest was cut: it had 1000 characters")
    assert len(shown) < 300

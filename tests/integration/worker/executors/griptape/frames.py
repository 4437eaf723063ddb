"""Frames of the protocols of all providers, as the field sends them."""

import json

from tests.support import llm_script as wire
from tests.support.llm_script import named_events, said
from worker.executors.base import Succeeded

NAME = "Sample_run_structure"

HI = said("Hi ", "there")


def answered(executed) -> bool:
    return isinstance(executed.outcome, Succeeded) and executed.output == "Hi there"


def message(*blocks, stop="end_turn", usage=True):
    """An answer of Anthropic's protocol, each block with what follows its start."""
    frames = [{"type": "message_start", "message": {"usage": {"input_tokens": 3, "output_tokens": 1}}}]
    for index, (block, *deltas) in enumerate(blocks):
        frames.append({"type": "content_block_start", "index": index, "content_block": block})
        frames += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        frames.append({"type": "content_block_stop", "index": index})
    end = {"type": "message_delta", "delta": {"stop_reason": stop}}
    frames.append({**end, "usage": {"output_tokens": 7}} if usage else end)
    return named_events(*frames, {"type": "message_stop"})


TEXT = (
    {"type": "text", "text": ""},
    {"type": "text_delta", "text": "Hi "},
    {"type": "text_delta", "text": "there"},
)

THINKING = {"type": "thinking", "thinking": "", "signature": ""}

SIGNED = {"type": "signature_delta", "signature": "c2ln"}

THOUGHT = (THINKING, {"type": "thinking_delta", "thinking": "Hm"}, SIGNED)

USE = (
    {"type": "tool_use", "id": "toolu_1", "name": NAME, "input": {}},
    {"type": "input_json_delta", "partial_json": '{"args": '},
    {"type": "input_json_delta", "partial_json": '["x"]}'},
)


def candidate(*parts, finish="STOP", **more):
    frame = {"candidates": [{"content": {"role": "model", "parts": list(parts)}, "index": 0}], **more}
    if finish:
        frame["candidates"][0]["finishReason"] = finish
    return frame


def cohere(*parts):
    start = {"type": "message-start", "delta": {"message": {"role": "assistant"}}}
    end = {"finish_reason": "COMPLETE", "usage": {"tokens": {"input_tokens": 3, "output_tokens": 7}}}
    return named_events(start, *parts, {"type": "message-end", "delta": end})


def piece(kind, index=0, **message):
    return {"type": kind, "index": index, "delta": {"message": message}}


def ollama(*messages, **end):
    lines = [{"message": {"role": "assistant", **each}, "done": False} for each in messages]
    lines.append(
        {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop", **end}
    )
    return wire.Reply([json.dumps(line, ensure_ascii=False) + "\n" for line in lines])


def bedrock(*deltas, stop="end_turn"):
    from tests.support.llm_dialects import Bedrock  # noqa: PLC0415  # its frames are binary

    frame = Bedrock()._frame
    starts = [delta for delta in deltas if "toolUse" in delta and "name" in delta["toolUse"]]
    frames = [frame("messageStart", {"role": "assistant"})]
    for index, delta in enumerate(deltas):
        kind, key = ("contentBlockStart", "start") if delta in starts else ("contentBlockDelta", "delta")
        block = index - 1 if index and deltas[index - 1] in starts else index
        frames.append(frame(kind, {"contentBlockIndex": block, key: delta}))
    frames.append(frame("messageStop", {"stopReason": stop}))
    return wire.Reply(frames, headers={"Content-Type": "application/vnd.amazon.eventstream"})

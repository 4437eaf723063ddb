"""How model providers put a streamed answer on the wire."""

import json
import re
import struct
import zlib
from typing import Any, Final, Protocol

USAGE: Final = (11, 7)  # tokens in and out

Json = dict[str, Any]


class Dialect(Protocol):
    """The parts of a streamed answer, as bytes."""

    content_type: str

    def opening(self) -> bytes: ...
    def word(self, text: str) -> bytes: ...
    def tool_call(self, name: str) -> bytes: ...
    def ending(self, *, usage: bool) -> bytes: ...
    def garbage(self) -> bytes: ...
    def refusal(self, message: str, status: int) -> Json: ...


ARGUMENTS = json.dumps({"args": ["from", "the", "model"]})
"""What the OpenAI stub calls a tool with."""


class OpenAi:
    """Chat completions."""

    content_type = "text/event-stream"

    def opening(self) -> bytes:
        return self._frame(
            [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]
        )

    def word(self, text: str) -> bytes:
        return self._frame([{"index": 0, "delta": {"content": text}, "finish_reason": None}])

    def tool_call(self, name: str) -> bytes:
        call = {
            "index": 0,
            "id": "call_1",
            "type": "function",
            "function": {"name": name, "arguments": ARGUMENTS},
        }
        return self._frame([{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}])

    def ending(self, *, usage: bool) -> bytes:
        frames = self._frame([{"index": 0, "delta": {}, "finish_reason": "stop"}])
        if usage:
            counts = {"prompt_tokens": USAGE[0], "completion_tokens": USAGE[1], "total_tokens": sum(USAGE)}
            frames += self._frame([], usage=counts)
        return frames + b"data: [DONE]\n\n"

    def refusal(self, message: str, status: int) -> Json:
        return {"error": {"message": message, "type": "stub", "code": status}}

    def garbage(self) -> bytes:
        return b"data: {not json\n\n"

    def _frame(self, choices: list[Json], usage: Json | None = None) -> bytes:
        common = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "stub"}
        return b"data: " + json.dumps({**common, "choices": choices, "usage": usage}).encode() + b"\n\n"


class Anthropic:
    """Messages."""

    content_type = "text/event-stream"

    def opening(self) -> bytes:
        usage = {"input_tokens": USAGE[0], "output_tokens": 1}
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "stub", "content": []}
        start = {"message": {**message, "stop_reason": None, "stop_sequence": None, "usage": usage}}
        block = {"index": 0, "content_block": {"type": "text", "text": ""}}
        return self._frame("message_start", start) + self._frame("content_block_start", block)

    def word(self, text: str) -> bytes:
        return self._frame("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": text}})

    def tool_call(self, name: str) -> bytes:
        block = {"index": 1, "content_block": {"type": "tool_use", "id": "call_1", "name": name, "input": {}}}
        delta = {"index": 1, "delta": {"type": "input_json_delta", "partial_json": "{}"}}
        return self._frame("content_block_start", block) + self._frame("content_block_delta", delta)

    def ending(self, *, usage: bool) -> bytes:
        stop = {
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": USAGE[1]},
        }
        frames = self._frame("content_block_stop", {"index": 0})
        if usage:
            frames += self._frame("message_delta", stop)
        return frames + self._frame("message_stop", {})

    def refusal(self, message: str, status: int) -> Json:
        return {"type": "error", "error": {"type": f"stub_{status}", "message": message}}

    def garbage(self) -> bytes:
        return b"event: content_block_delta\ndata: {not json\n\n"

    def _frame(self, kind: str, data: Json) -> bytes:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n".encode()


class Ollama:
    """Chat, one JSON object a line."""

    content_type = "application/x-ndjson"

    def opening(self) -> bytes:
        return b""

    def word(self, text: str) -> bytes:
        return self._line({"message": {"role": "assistant", "content": text}, "done": False})

    def tool_call(self, name: str) -> bytes:
        call = {"function": {"name": name, "arguments": {}}}
        message = {"role": "assistant", "content": "", "tool_calls": [call]}
        return self._line({"message": message, "done": False})

    def ending(self, *, usage: bool) -> bytes:
        counts = {"prompt_eval_count": USAGE[0], "eval_count": USAGE[1]} if usage else {}
        return self._line({"message": {"role": "assistant", "content": ""}, "done": True, **counts})

    def refusal(self, message: str, status: int) -> Json:  # noqa: ARG002  # as the others have it
        return {"error": message}

    def garbage(self) -> bytes:
        return b"{not json\n"

    def _line(self, data: Json) -> bytes:
        return json.dumps({"model": "stub", "created_at": "2026-01-01T00:00:00Z", **data}).encode() + b"\n"


class Cohere:
    """Chat, version 2."""

    content_type = "text/event-stream"

    def opening(self) -> bytes:
        return self._frame("message-start", {"id": "1", "delta": {"message": {"role": "assistant"}}})

    def word(self, text: str) -> bytes:
        return self._frame("content-delta", {"index": 0, "delta": {"message": {"content": {"text": text}}}})

    def tool_call(self, name: str) -> bytes:
        call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": ARGUMENTS}}
        return self._frame("tool-call-start", {"index": 0, "delta": {"message": {"tool_calls": call}}})

    def ending(self, *, usage: bool) -> bytes:
        tokens = {"tokens": {"input_tokens": USAGE[0], "output_tokens": USAGE[1]}} if usage else None
        return self._frame("message-end", {"delta": {"finish_reason": "COMPLETE", "usage": tokens}})

    def refusal(self, message: str, status: int) -> Json:
        return {"message": message, "id": str(status)}

    def garbage(self) -> bytes:
        return b"event: content-delta\ndata: {not json\n\n"

    def _frame(self, kind: str, data: Json) -> bytes:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n".encode()


class Google:
    """Generate content."""

    content_type = "text/event-stream"

    def opening(self) -> bytes:
        return b""

    def word(self, text: str) -> bytes:
        return self._frame({"text": text})

    def tool_call(self, name: str) -> bytes:
        return self._frame({"functionCall": {"name": name, "args": {}}})

    def ending(self, *, usage: bool) -> bytes:
        counts = {"promptTokenCount": USAGE[0], "candidatesTokenCount": USAGE[1]} if usage else None
        return self._frame({"text": ""}, finishReason="STOP", usage=counts)

    def refusal(self, message: str, status: int) -> Json:
        return {"error": {"code": status, "message": message, "status": "STUB"}}

    def garbage(self) -> bytes:
        return b"data: {not json\n\n"

    def _frame(self, part: Json, usage: Json | None = None, **more: str) -> bytes:
        candidate = {"content": {"role": "model", "parts": [part]}, "index": 0, **more}
        frame: Json = {"candidates": [candidate]}
        if usage is not None:
            frame["usageMetadata"] = usage
        return b"data: " + json.dumps(frame).encode() + b"\n\n"


class Bedrock:
    """Converse, in Amazon's binary event stream."""

    content_type = "application/vnd.amazon.eventstream"

    def opening(self) -> bytes:
        return self._frame("messageStart", {"role": "assistant"})

    def word(self, text: str) -> bytes:
        return self._frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": text}})

    def tool_call(self, name: str) -> bytes:
        start = {"toolUse": {"toolUseId": "call_1", "name": name}}
        return self._frame("contentBlockStart", {"contentBlockIndex": 1, "start": start})

    def ending(self, *, usage: bool) -> bytes:
        frames = self._frame("messageStop", {"stopReason": "end_turn"})
        if usage:
            counts = {"inputTokens": USAGE[0], "outputTokens": USAGE[1], "totalTokens": sum(USAGE)}
            frames += self._frame("metadata", {"usage": counts, "metrics": {"latencyMs": 1}})
        return frames

    def refusal(self, message: str, status: int) -> Json:  # noqa: ARG002  # as the others have it
        return {"message": message}

    def garbage(self) -> bytes:
        return b"not an event" * 4

    def _frame(self, kind: str, data: Json) -> bytes:
        headers = b"".join(
            struct.pack(f"!B{len(name)}sBH{len(value)}s", len(name), name, 7, len(value), value)
            for name, value in (
                (b":event-type", kind.encode()),
                (b":content-type", b"application/json"),
                (b":message-type", b"event"),
            )
        )
        payload = json.dumps(data).encode()
        prelude = struct.pack("!II", len(headers) + len(payload) + 16, len(headers))
        message = prelude + struct.pack("!I", zlib.crc32(prelude)) + headers + payload
        return message + struct.pack("!I", zlib.crc32(message))


_DIALECTS: Final[tuple[tuple[str, Dialect], ...]] = (
    (r"/chat/completions", OpenAi()),
    (r"/v1/messages", Anthropic()),
    (r"/api/chat", Ollama()),
    (r"/v2/chat", Cohere()),
    (r"/models/(?P<model>[^/:]+):streamGenerateContent", Google()),
    (r"/model/(?P<model>[^/]+)/converse-stream", Bedrock()),
)
"""By the path of a request, which also names the model if the body does not."""


def find_dialect(path: str, body: Json) -> tuple[Dialect, str] | None:
    """The dialect of a request and the model it asks for."""
    for pattern, dialect in _DIALECTS:
        if match := re.search(pattern, path):
            return dialect, match.groupdict().get("model") or str(body["model"])
    return None

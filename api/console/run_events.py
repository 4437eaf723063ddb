"""Events as the console's scripts read them: small, and harmless as text."""

from typing import Any, Final

import orjson

from api.console.text import parts_of, short, visible
from api.streaming.sse import frame
from shared.events.log import StoredEvent
from shared.lifecycle import EventType, Origin

PREVIEW: Final = 240  # characters of a payload in a list
LONGEST_TEXT: Final = 100_000  # characters of one piece of text

START_PROMPT: Final = "StartPromptEvent"
TOOL_EVENTS: Final = frozenset({"StartActionsSubtaskEvent", "FinishActionsSubtaskEvent"})
QUEUED: Final = frozenset({EventType.ASSISTANT_QUEUED, EventType.STRUCTURE_QUEUED})


def shown(event: StoredEvent) -> dict[str, Any]:
    """Return an event for a list and for the transcript."""
    payload = event.payload
    item: dict[str, Any] = {
        "n": event.seq,
        "id": event.event_id,
        "type": visible(event.type[:100]),
        "attempt": event.attempt,
        "at": event.timestamp,
        "preview": visible(parts_of(payload, PREVIEW)),
    }
    if event.type == EventType.TEXT_CHUNK:
        item["text"] = _text(payload.get("token"))
        kind = payload.get("type")
        if kind is not None and kind != EventType.TEXT_CHUNK:
            item["repeated"] = True  # an earlier attempt has shown it
    elif event.type == EventType.FINISH_PROMPT:
        item["result"] = _text(payload.get("result"))
        item["tokens"] = [_number(payload.get(f"{side}_token_count")) for side in ("input", "output")]
        item["model"] = _text(payload.get("model"))[:100]
    elif event.type in QUEUED and event.origin is Origin.SYSTEM and payload.get("reset") is True:
        item["reset"] = True
    elif event.type in TOOL_EVENTS:
        item["tool"] = visible(parts_of(payload.get("subtask_actions", payload), 2000))
    if event.is_last:
        item["last"] = True
    return item


def framed(event: StoredEvent) -> bytes:
    """Return an event for a stream: of the same event, always the same bytes."""
    return frame(event.seq, orjson.dumps(shown(event)))


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) else None


def _text(value: Any) -> str:
    return visible(short(value, LONGEST_TEXT)) if isinstance(value, str) else ""

"""From the bytes of a provider's answer to the JSON objects in it, however they are framed.

Providers stream server-sent events or lines of JSON, and answer with one JSON document where they do
not stream. Which of them it is, the bytes say: what was asked for and what a header claims do not count.
"""

import codecs
import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from worker.executors.model_errors import NoAnswerError

Json = dict[str, Any]

DONE: Final[Json] = {"[DONE]": True}
"""The frame that says that nothing follows."""

MAX_FRAME: Final = 32 * 1024 * 1024
"""Characters of one frame, or of a document: beyond all answers, and within a worker's memory."""

_LAST_WORD: Final = "[DONE]"


def frames(parts: Iterable[bytes]) -> Iterator[Json]:
    """The JSON objects in an answer, in order, and `DONE` where the provider says so.

    Skipped is what frames nothing: comments, events without data, empty data, `null`, `retry:`.

    Raises:
        NoAnswerError: it is neither JSON nor a stream of it, or one frame is beyond all bounds.
    """
    lines = _lines(parts)
    first = next((line for line in lines if line.strip()), None)
    if first is None:
        return
    if first.lstrip().startswith("<"):  # a web page
        raise NoAnswerError
    reader = _documents if first.lstrip()[0] in "{[" else _events
    yield from reader(first, lines)


def _lines(parts: Iterable[bytes]) -> Iterator[str]:
    """Lines as the formats define them: text may hold what Python takes for the end of one."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
    pending = ""
    for part in parts:
        *whole, pending = _split(pending + decoder.decode(part))
        if len(pending) > MAX_FRAME:
            raise NoAnswerError
        yield from whole
    *whole, pending = _split(pending + decoder.decode(b"", final=True))
    yield from whole
    yield pending.removesuffix("\r")


def _split(text: str) -> list[str]:
    """Split at CR LF and LF; at a CR alone only if no LF may still come."""
    if "\r" in text:
        held = "\r" if text.endswith("\r") else ""
        text = text.removesuffix("\r").replace("\r\n", "\n").replace("\r", "\n") + held
    return text.split("\n")


def _documents(first: str, rest: Iterator[str]) -> Iterator[Json]:
    """JSON, a document a line or one over many lines."""
    pending = ""
    for line in _chain(first, rest):
        pending = f"{pending}\n{line}" if pending else line.strip()
        if len(pending) > MAX_FRAME:
            raise NoAnswerError
        if pending.endswith(("}", "]")) or pending.strip() == "null":
            try:
                found = json.loads(pending, strict=False)
            except ValueError:
                continue
            pending = ""
            yield from _objects(found)
    if pending.strip():
        raise NoAnswerError


def _events(first: str, rest: Iterator[str]) -> Iterator[Json]:
    """Server-sent events, of which data and the names of errors count."""
    name, data, size = "", list[str](), 0
    for line in _chain(first, rest):
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match field:
            case "":
                if not line and (name or data):
                    yield from _event(name, data)
                    name, data, size = "", [], 0
            case "event":
                name = value.strip()
            case "data":
                data.append(value)
                size += len(value)
                if size > MAX_FRAME:
                    raise NoAnswerError
            case _ if line.lstrip().startswith("{"):  # an error that is no event, amid events
                yield from _event(name, [line])
    if data and _is_whole(data):  # a last event that lacks the empty line after it
        yield from _event(name, data)


def _event(name: str, data: list[str]) -> Iterator[Json]:
    text = "\n".join(data).strip()
    if text == _LAST_WORD:
        yield DONE
        return
    if not text:
        return
    if name == "error":
        yield _as_error(text)
        return
    try:
        found = [json.loads(text, strict=False)]
    except ValueError:
        found = [_alone(part) for part in data if part.strip()]  # events that lack the lines between them
        if len(found) < 2:  # noqa: PLR2004  # one that cannot be read is not several
            raise NoAnswerError from None
    for each in found:
        yield from _objects(each)


def _alone(text: str) -> Any:
    if text.strip() == _LAST_WORD:
        return DONE
    try:
        return json.loads(text, strict=False)
    except ValueError as error:
        raise NoAnswerError from error


def _as_error(text: str) -> Json:
    try:
        found = json.loads(text, strict=False)
    except ValueError:
        found = {"message": text}
    if isinstance(found, dict) and "error" in found:
        return found
    return {"error": found}


def _objects(found: Any) -> Iterator[Json]:
    """The objects in a document: itself, or what a list of them holds. Anything else frames nothing."""
    for each in found if isinstance(found, list) else [found]:
        if isinstance(each, dict):
            yield each


def _is_whole(data: list[str]) -> bool:
    text = "\n".join(data).strip()
    if text == _LAST_WORD:
        return True
    try:
        json.loads(text, strict=False)
    except ValueError:
        return False
    return True


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest

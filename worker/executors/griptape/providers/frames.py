"""The JSON objects in the bytes of a provider's answer, in any framing.

Providers stream server-sent events or lines of JSON, and answer with one JSON document where they do
not stream. Which of them it is, the bytes say: what was asked for and what a header claims do not count.
"""

import codecs
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain, islice
from typing import Any, Final

from worker.executors.griptape.json_text import BRACKETS, load
from worker.executors.griptape.model_errors import (
    AnswerTooLongError,
    NoAnswerError,
    UnexpectedTextError,
    page_title,
)

Json = dict[str, Any]

DONE: Final[Json] = {"[DONE]": True}
"""The frame that says that nothing follows."""

MAX_FRAME: Final = 32 * 1024 * 1024
"""Characters of one frame, or of a document: beyond all answers, and within a worker's memory."""

MAX_BYTES: Final = 256 * 1024 * 1024
"""Bytes of an answer, with all that frames it."""

MAX_SILENT: Final = 8 * 1024 * 1024
"""Characters of comments and empty lines: what keeps a connection open is far less."""

_LAST_WORD: Final = "[DONE]"
_LONGEST_QUOTE: Final = 4_000  # characters of what is no answer
_PAGE_LINES: Final = 100  # of a web page, among which its title is looked for

_FIELDS: Final = frozenset({"event", "data", "id", "retry"})
"""Of events; a line that begins with none of them is no part of one."""


def frames(parts: Iterable[bytes]) -> Iterator[Json]:
    """Yield the JSON objects of an answer in order, and `DONE` where the provider sends it.

    Skipped is what frames nothing: comments, events without data, empty data, `null`, `retry:`.

    Raises:
        NoAnswerError: it is neither JSON nor a stream of it, or one frame is beyond all bounds.
        AnswerTooLongError: all of it is.
    """
    lines = _telling(_lines(parts))
    first = next((line for line in lines if line.strip()), None)
    if first is None:
        return
    if first.lstrip().startswith("<"):
        title = page_title("\n".join(chain([first], islice(lines, _PAGE_LINES))))
        raise UnexpectedTextError(title[:_LONGEST_QUOTE]) if title else NoAnswerError
    reader = _documents if first.lstrip()[0] in "{[" else _events
    yield from reader(chain([first], lines))


def bounded(parts: Iterable[bytes], *, is_stream: bool) -> Iterator[bytes]:
    """The parts of an answer that is a stream, or one document.

    Raises:
        AnswerTooLongError: there are too many.
    """
    taken = 0
    for part in parts:
        taken += len(part)
        if taken > (MAX_BYTES if is_stream else MAX_FRAME):
            raise AnswerTooLongError
        yield part


def _lines(parts: Iterable[bytes]) -> Iterator[str]:
    """Lines as the formats define them: text may hold what Python takes for the end of one."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
    pending: list[str] = []  # of a line whose end has not come
    length = 0
    for part in bounded(parts, is_stream=True):
        text = decoder.decode(part)
        may_end = "\n" in text or "\r" in text or (pending and pending[-1].endswith("\r"))
        pending.append(text)
        length += len(text)
        if may_end:
            *whole, rest = _split("".join(pending))
            yield from whole
            pending, length = [rest], len(rest)
        _bounded(length)
    *whole, rest = _split("".join(pending) + decoder.decode(b"", final=True))
    yield from whole
    yield rest.removesuffix("\r")


def _telling(lines: Iterable[str]) -> Iterator[str]:
    """The same lines, unless there is no end of those that say nothing.

    Raises:
        AnswerTooLongError: there is none.
    """
    silent = 0
    for line in lines:
        if not line or line.isspace() or line.startswith(":"):
            silent += len(line) + 1
            if silent > MAX_SILENT:
                raise AnswerTooLongError
        yield line


def _split(text: str) -> list[str]:
    """Split at CR LF and LF; at a CR alone only if no LF may still come."""
    if "\r" in text:
        held = "\r" if text.endswith("\r") else ""
        text = text.removesuffix("\r").replace("\r\n", "\n").replace("\r", "\n") + held
    return text.split("\n")


def _documents(lines: Iterable[str]) -> Iterator[Json]:
    """JSON, a document a line or one over many lines; it is read once its brackets are closed."""
    pending: list[str] = []
    depth = length = 0
    for line in lines:
        given = line if pending else line.strip().removeprefix("data:").strip()
        if not pending:
            if given in {"", _LAST_WORD}:
                yield from [DONE] if given else []
                continue
            found = None  # unless all of the document is on this line
            if given.endswith(("}", "]")):
                with suppress(ValueError):
                    found = load(given)
            if found is not None:
                yield from _objects(found)
                continue
        pending.append(given)
        length = _bounded(length + len(given))
        depth += sum(1 if opened else -1 for opened, closed in BRACKETS.findall(given) if opened or closed)
        if depth <= 0:
            yield from _objects(_loaded("\n".join(pending)))
            pending, depth, length = [], 0, 0
    if pending:
        yield from _objects(_loaded("\n".join(pending)))


def _events(lines: Iterable[str]) -> Iterator[Json]:
    """Server-sent events, of which data and the names of errors count.

    Raises:
        UnexpectedTextError: there is none, but text that is something else.
    """
    name, data, size = "", list[str](), 0
    stray = ""  # the first line that is no part of an event
    is_one = False
    for line in lines:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not field:
            if not line and (name or data):
                yield from _event(name, data)
                is_one = is_one or bool(data)
                name, data, size = "", [], 0
        elif field == "event":
            name = value.strip()
        elif field == "data":
            data.append(value)
            size = _bounded(size + len(line) + 1)
        elif field not in _FIELDS:
            stray = stray or line.strip()
            if line.startswith("error:"):  # some servers tell of errors in that way
                yield _as_error(line.removeprefix("error:").strip())
            elif line.lstrip().startswith("{"):
                yield from _event(name, [line])
    if data and _is_whole(data):  # a last event that lacks the empty line after it
        yield from _event(name, data)
    elif stray and not is_one:
        raise UnexpectedTextError(stray[:_LONGEST_QUOTE])


def _bounded(size: int) -> int:
    if size > MAX_FRAME:
        raise NoAnswerError
    return size


def _event(name: str, data: list[str]) -> Iterator[Json]:
    text = "\n".join(data).strip()
    if text.startswith("data:"):  # framed twice
        text = text.removeprefix("data:").strip()
    if text == _LAST_WORD:
        yield DONE
        return
    if not text:
        return
    if name == "error":
        yield _as_error(text)
        return
    try:
        found = [load(text)]
    except ValueError:
        parts = [part for part in data if part.strip()]  # events that lack the lines between them
        found = [DONE if part.strip() == _LAST_WORD else _loaded(part) for part in parts]
        if len(found) < 2:  # noqa: PLR2004  # one that cannot be read is not several
            raise NoAnswerError from None
    for each in found:
        yield from _objects(each)


def _as_error(text: str) -> Json:
    try:
        found = load(text)
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
        load(text)
    except ValueError:
        return False
    return True


def _loaded(text: str) -> Any:
    try:
        return load(text)
    except ValueError as error:
        raise NoAnswerError from error

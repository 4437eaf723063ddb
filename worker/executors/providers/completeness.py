"""Telling a complete answer from one that was cut off: the framework takes either for an answer."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from griptape.common import DeltaMessage

from worker.executors.model_errors import AnswerIncompleteError

Part = TypeVar("Part")


def checked(parts: Iterable[Part], is_last: Callable[[Part], bool]) -> Iterator[Part]:
    """Pass on the parts of an answer.

    Raises:
        AnswerIncompleteError: they ended, but none of them was the last.
    """
    has_begun = is_complete = False
    for part in parts:
        has_begun = True
        is_complete = is_complete or is_last(part)
        yield part
    if has_begun and not is_complete:  # that nothing came at all is ModelDriver's to say
        raise AnswerIncompleteError


def counts_tokens(delta: DeltaMessage) -> bool:
    """Whether it holds the size of the answer, which some providers tell at its end and only there."""
    return delta.usage.output_tokens is not None

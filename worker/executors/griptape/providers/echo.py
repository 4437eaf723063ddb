"""The offline model: it repeats the input word by word."""

import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from worker.executors.griptape.providers.answer import Answer
from worker.executors.griptape.providers.conversation import Conversation, Role
from worker.executors.griptape.providers.endings import ending
from worker.executors.griptape.providers.frames import Json
from worker.executors.griptape.providers.setup import Provider, Setup

PREFACE: Final = "Echo (no model is configured): "

_WORDS: Final = re.compile(r"\s*\S+\s*|\s+")


class Echo(Provider):
    """Answers with the last message of the user. Deterministic; needs no network and no key."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.model = setup.model or setup.provider
        self._token = setup.context.token
        self._words_per_second = float(setup.context.options.get("echo_words_per_second", 0))

    def request(self, asked: Conversation, without: frozenset[str]) -> Json:
        del without
        return {
            "text": next(turn.text for turn in reversed(asked.turns) if turn.role is Role.USER and turn.text)
        }

    @contextmanager
    def send(self, request: Json, *, stream: bool) -> Iterator[Iterable[Json]]:
        del stream
        yield self._words(PREFACE + request["text"])

    def read(self, frame: Json, answer: Answer) -> None:
        answer.has_come = True
        answer.text(frame.get("word"))
        answer.end(ending(frame.get("end")))
        answer.is_over = answer.ending is not None

    def _words(self, text: str) -> Iterator[Json]:
        """Say each word when it is due, whatever its reader did with those before."""
        begun = time.monotonic()
        for number, word in enumerate(_WORDS.findall(text), 1):
            yield {"word": word}
            if self._words_per_second:
                due = begun + number / self._words_per_second
                self._token.wait(max(0.0, due - time.monotonic()))
            self._token.raise_if_cancelled()
        yield {"end": "stop"}


def build(setup: Setup) -> Echo:
    """Make the provider; `echo_words_per_second` is its pace."""
    return Echo(setup)


def warm_up() -> None:
    """Nothing: it needs no library."""

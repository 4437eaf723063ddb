"""The framework without the product: CPU of an Agent's run, and of a paced chunk, in a process of its own.

`python -m bench.griptape_alone` prints one JSON object: milliseconds, a sample a round.
"""

import contextvars
import json
import logging
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from attrs import define, field
from griptape.common import DeltaMessage, Message, PromptStack, TextDeltaMessageContent
from griptape.drivers.prompt import BasePromptDriver
from griptape.events import BaseEvent, EventBus, EventListener
from griptape.structures import Agent
from griptape.tokenizers import SimpleTokenizer

ROUNDS: Final = 3
RUNS: Final = 40  # one after the other
WORDS: Final = 20  # of each: what echo says of the bench's text
STREAMS: Final = 20  # paced runs at once
STREAMED_WORDS: Final = 75  # of each
PAUSE: Final = 0.02  # seconds, between two words
MILLI: Final = 1000


@define(kw_only=True)
class Words(BasePromptDriver):
    """A model that says the same word again and again."""

    count: int
    pause: float = 0.0
    model: str = "words"
    tokenizer: SimpleTokenizer = field(
        factory=lambda: SimpleTokenizer(max_input_tokens=1000, max_output_tokens=1000, characters_per_token=4)
    )

    def __attrs_post_init__(self) -> None:
        self.stream = True

    def try_run(self, prompt_stack: PromptStack) -> Message:
        raise NotImplementedError  # `stream` has the framework call `try_stream`

    def try_stream(self, prompt_stack: PromptStack) -> Iterator[DeltaMessage]:
        del prompt_stack
        for _ in range(self.count):
            yield DeltaMessage(content=TextDeltaMessageContent("word ", index=0))
            if self.pause:
                time.sleep(self.pause)


def one_run(count: int, pause: float) -> None:
    """Run an agent whose events reach a listener that does nothing."""

    def listen(_event: BaseEvent) -> None:
        return

    def run() -> None:
        EventBus.event_listeners = [EventListener(listen)]
        Agent(prompt_driver=Words(count=count, pause=pause)).run("Hi")

    contextvars.copy_context().run(run)


def main() -> None:
    """Measure, and print."""
    logging.getLogger("griptape").setLevel(logging.ERROR)  # the worker prints no answers either
    one_run(WORDS, 0)
    runs, chunks = [], []
    for _ in range(ROUNDS):
        start = time.process_time()
        for _ in range(RUNS):
            one_run(WORDS, 0)
        runs.append((time.process_time() - start) * MILLI / RUNS)
        start = time.process_time()
        with ThreadPoolExecutor(STREAMS) as threads:
            list(threads.map(lambda _: one_run(STREAMED_WORDS, PAUSE), range(STREAMS)))
        chunks.append((time.process_time() - start) * MILLI / (STREAMS * STREAMED_WORDS))
    sys.stdout.write(json.dumps({"run": runs, "chunk": chunks}) + "\n")


if __name__ == "__main__":
    main()

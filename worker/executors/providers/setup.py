"""What a provider's module is given, and what it gives: how a model is asked and its answer is read."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from worker.executors.base import RunContext
from worker.executors.connections import ModelConnections
from worker.executors.credentials import find, require
from worker.executors.limits import ModelLimits, limits_of
from worker.executors.providers.answer import Answer
from worker.executors.providers.conversation import Conversation
from worker.executors.providers.frames import Json

STREAM: Final = "stream"
"""The parameter that asks for an answer piece by piece, by the name that it is remembered by."""


@dataclass(frozen=True, slots=True)
class Setup:
    """One model for one run."""

    provider: str
    model: str
    context: RunContext
    connections: ModelConnections

    def find(self, *names: str) -> str | None:
        """The first of these environment variables that is set and not blank, without space around it.

        Raises:
            InvalidConfigurationError: it is a key that cannot be sent.
        """
        return find(*names)

    def require(self, *names: str) -> str:
        """The first of these environment variables that is set and not blank.

        Raises:
            InvalidConfigurationError: none is, or it is a key that cannot be sent.
        """
        return require(self.provider, *names)

    @property
    def limits(self) -> ModelLimits:
        """What is known of the model, and what the operator says of it."""
        context = self.context
        return limits_of(self.provider, self.model, context.options, assistant_id=context.assistant_id)


class Provider(ABC):
    """One model for one run: how it is asked, and how its answer is read.

    `parameters` are optional parts of each request, by the provider's own names: what the run or the
    operator set, and what this module adds. A provider that refuses one of them is asked without it.
    """

    OPTIONAL: ClassVar[frozenset[str]] = frozenset()
    """Names of optional parts that the request holds anyhow, and that a provider may refuse."""

    def __init__(self, setup: Setup) -> None:
        self.provider = setup.provider
        self.model = setup.model
        self.limits = setup.limits
        self.parameters: dict[str, Any] = {}

    @property
    def address(self) -> str:
        """Where the model is, so that what is learnt of it there is not taken for true elsewhere."""
        return ""

    @abstractmethod
    def request(self, asked: Conversation, without: frozenset[str]) -> Json:
        """What is sent: `parameters`, but those `without` which the provider is to be asked."""

    @abstractmethod
    def send(self, request: Json, *, stream: bool) -> AbstractContextManager[Iterable[Json]]:
        """Send a request; gives the frames of the answer, within the context.

        Raises:
            Exception: what the provider's library raises of a refusal.
        """

    @abstractmethod
    def read(self, frame: Json, answer: Answer) -> None:
        """Read one frame.

        Raises:
            ToldError: it tells of an error.
        """

    def finish(self, answer: Answer) -> None:
        """Note in `answer.echo` what is to go back with the calls of a complete answer."""
        del answer  # nothing, or what `read` has noted

    def renamed(self, words: str) -> dict[str, str]:
        """Parameters that a refusal asks for under another name: the old one, and the new."""
        del words
        return {}


Build = Callable[[Setup], Provider]


def chosen(parameters: Json, without: frozenset[str]) -> Json:
    """The parameters that may be sent."""
    return {name: value for name, value in parameters.items() if name not in without}


def objects(value: object) -> Iterator[Json]:
    """The JSON objects of a list, or the one that stands where a list should; nothing of anything else."""
    match value:
        case dict():
            yield value
        case list():
            yield from (each for each in value if isinstance(each, dict))


def inner(value: object, *names: str) -> Json:
    """The JSON object at a place within another; an empty one if there is none."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def place(value: object) -> int | str | None:
    """What tells a block or a call from others, as a provider numbers them; None if that is no number."""
    return value if isinstance(value, int | str) else None

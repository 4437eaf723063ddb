"""The protocol of providers: how a model is called and its answer is read."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Final
from urllib.parse import quote

from worker.executors.base import InvalidConfigurationError, RunContext
from worker.executors.griptape.connections import ModelConnections
from worker.executors.griptape.credentials import find, require
from worker.executors.griptape.limits import ModelLimits, limits_of
from worker.executors.griptape.providers.answer import Answer
from worker.executors.griptape.providers.conversation import Conversation
from worker.executors.griptape.providers.frames import Json

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
        """Return the first of these environment variables that is set and not blank, stripped.

        Raises:
            InvalidConfigurationError: the value cannot be sent as a key.
        """
        return find(*names)

    def require(self, *names: str) -> str:
        """Return the first of these environment variables that is set and not blank, stripped.

        Raises:
            InvalidConfigurationError: none is set, or the value cannot be sent as a key.
        """
        return require(self.provider, *names)

    @property
    def limits(self) -> ModelLimits:
        """The limits of the model: the operator's, or else the table's."""
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
        """The model's address: refused parameters are remembered for this address alone."""
        return ""

    @abstractmethod
    def request(self, asked: Conversation, without: frozenset[str]) -> Json:
        """Make the body of a request: `parameters` but those in `without`."""

    @abstractmethod
    def send(self, request: Json, *, stream: bool) -> AbstractContextManager[Iterable[Json]]:
        """Send a request; the context yields the frames of the answer.

        Raises:
            Exception: the provider's library raises its own for a refusal.
        """

    @abstractmethod
    def read(self, frame: Json, answer: Answer) -> None:
        """Read one frame.

        Raises:
            ToldError: the frame holds an error.
        """

    def finish(self, answer: Answer) -> None:
        """Note in `answer.echo` what is to go back with the calls of a complete answer."""
        del answer  # nothing, or what `read` has noted

    def renamed(self, words: str) -> dict[str, str]:
        """Return the parameters that a refusal renames: the old name, and the new."""
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


def segment(name: str) -> str:
    """The name of a model as one segment of a path. A caller chooses it: it must lead nowhere else.

    Raises:
        InvalidConfigurationError: no server would take it for a name.
    """
    if not name.strip("."):
        raise InvalidConfigurationError(f"{name!r} is no name of a model.")
    return quote(name, safe="")


def place(value: object) -> int | str | None:
    """What tells a block or a call from others, as a provider numbers them; None if that is no number."""
    return value if isinstance(value, int | str) else None

"""Several processes as one: started in order, restarted when they die, stopped in reverse."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

from shared.errors import RunyardError
from shared.processes import child

FIRST_DELAY: Final = 0.25  # seconds until a process that died is started again; doubles each time
LONGEST_DELAY: Final = 10.0  # seconds
SETTLED_AFTER: Final = 30.0  # seconds; a process that lived for so long died of something new


class Member(Protocol):
    """A process that can be started, watched and stopped."""

    @property
    def name(self) -> str: ...

    @property
    def process(self) -> child.Process: ...

    @property
    def log_path(self) -> Path: ...

    def launch(self) -> None:
        """Start it, or start it again; without waiting for it."""

    def stop(self) -> None:
        """Stop it, whatever it takes."""


class Program:
    """A member that is nothing but a command."""

    def __init__(self, name: str, command: child.Command, ladder: child.Ladder) -> None:
        self.name = name
        self._command = command
        self._ladder = ladder
        self._process: child.Process | None = None

    @property
    def process(self) -> child.Process:
        if self._process is None:
            raise RunyardError(f"{self.name} was not started.")
        return self._process

    @property
    def log_path(self) -> Path:
        return self._command.log_path

    def launch(self) -> None:
        self._process = child.spawn(self._command)

    def stop(self) -> None:
        if self._process is not None:
            child.stop(self._process, self._ladder)


@dataclass(frozen=True, slots=True)
class Death:
    """A member that ended without being asked to, or could not be started again."""

    name: str
    why: str  # its exit code or signal
    last_words: str  # the end of its log
    count: int  # how often, without having settled in between
    restart_in: float  # seconds


@dataclass(slots=True)
class _Watched:
    member: Member
    started_at: float
    last_death: Death | None = None  # None also once it has settled
    restart_at: float | None = None  # while it is dead


class Stack:
    """Members in stages: each stage needs the ones before it, and is stopped before them."""

    def __init__(self, *, report: Callable[[Death], None]) -> None:
        self._report = report
        self._watched: list[_Watched] = []
        self._stops = ExitStack()

    def launch(self, *members: Member) -> None:
        """Start the members of a further stage."""
        self._stops.callback(_stop_together, members)
        for member in members:
            member.launch()
            self._watched.append(_Watched(member, time.monotonic()))

    def check(self) -> bool:
        """Report members that died, and start them again when it is time; call this often.

        Returns:
            Whether a member was started, and so has another process id.
        """
        started = [self._look_after(watched) for watched in self._watched]
        return any(started)

    @property
    def members(self) -> Mapping[str, Member]:
        """The members by name."""
        return {watched.member.name: watched.member for watched in self._watched}

    @property
    def deaths(self) -> Sequence[Death]:
        """The last death of each member that has died and not settled since."""
        return [watched.last_death for watched in self._watched if watched.last_death is not None]

    def stop(self) -> None:
        """Stop all members, the last stage first, those of one stage at the same time."""
        self._watched.clear()
        self._stops.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _look_after(self, watched: _Watched) -> bool:
        now = time.monotonic()
        if watched.restart_at is None:
            if watched.member.process.poll() is not None:
                self._mourn(watched, now, child.describe_exit(watched.member.process))
            return False
        return now >= watched.restart_at and self._restart(watched, now)

    def _restart(self, watched: _Watched, now: float) -> bool:
        try:
            watched.member.launch()
        except (RunyardError, OSError) as error:
            self._mourn(watched, now, f"cannot be started: {error}")
            return False
        watched.started_at, watched.restart_at = now, None
        return True

    def _mourn(self, watched: _Watched, now: float, why: str) -> None:
        if now - watched.started_at > SETTLED_AFTER:
            watched.last_death = None
        earlier = watched.last_death.count if watched.last_death else 0
        delay = min(LONGEST_DELAY, FIRST_DELAY * 2**earlier)
        watched.restart_at = now + delay
        last_words = child.tail(watched.member.log_path)
        watched.last_death = Death(watched.member.name, why, last_words, earlier + 1, delay)
        self._report(watched.last_death)


def _stop_together(members: Sequence[Member]) -> None:
    with ThreadPoolExecutor(len(members)) as stoppers:
        stopping = [stoppers.submit(member.stop) for member in members]
    for future in stopping:
        future.result()

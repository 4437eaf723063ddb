"""A supervised set of processes: started in stages, restarted after an exit, stopped in reverse order."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

from cli.local.processes import child
from shared.errors import RunyardError

MIN_RESTART_DELAY: Final = 0.25  # seconds; doubles with each exit
MAX_RESTART_DELAY: Final = 10.0  # seconds
SETTLED_AFTER: Final = 30.0  # seconds of life after which the delay starts anew


class Member(Protocol):
    """A process that can be started, watched and stopped."""

    @property
    def name(self) -> str: ...

    @property
    def process(self) -> child.Process: ...

    @property
    def log_path(self) -> Path: ...

    def launch(self) -> None:
        """Start or restart it, without waiting until it is ready."""

    def stop(self) -> None:
        """Stop it, if need be by SIGKILL."""


class Program:
    """A member that is a plain command."""

    def __init__(self, name: str, command: child.Command, stop_sequence: child.StopSequence) -> None:
        self.name = name
        self._command = command
        self._stop_sequence = stop_sequence
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
            child.stop(self._process, self._stop_sequence)


@dataclass(frozen=True, slots=True)
class Exit:
    """An unexpected exit of a member, or a failed restart."""

    name: str
    why: str  # exit code or signal
    log_tail: str  # the last lines of its log
    count: int  # exits in a row, without having settled
    restart_in: float  # seconds


@dataclass(slots=True)
class _Watched:
    member: Member
    started_at: float
    last_exit: Exit | None = None  # None if it has settled since
    restart_at: float | None = None  # None while it runs


class Stack:
    """Members in stages. A stage needs those before it, so it is stopped before them."""

    def __init__(self, *, report: Callable[[Exit], None]) -> None:
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
        """Report exits, and restart members whose delay is over. Call this several times a second.

        Returns:
            Whether a member was restarted, and so has another process id.
        """
        started = [self._check(watched) for watched in self._watched]
        return any(started)

    @property
    def members(self) -> Mapping[str, Member]:
        """The members by name."""
        return {watched.member.name: watched.member for watched in self._watched}

    @property
    def exits(self) -> Sequence[Exit]:
        """The last exit of each member that has not settled since."""
        return [watched.last_exit for watched in self._watched if watched.last_exit is not None]

    def stop(self) -> None:
        """Stop all members, the last stage first, and the members of a stage in parallel."""
        self._watched.clear()
        self._stops.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _check(self, watched: _Watched) -> bool:
        now = time.monotonic()
        if watched.restart_at is None:
            if watched.member.process.poll() is not None:
                self._record_exit(watched, now, child.describe_exit(watched.member.process))
            return False
        if now < watched.restart_at:
            return False
        try:
            watched.member.launch()
        except (RunyardError, OSError) as error:
            self._record_exit(watched, now, f"cannot be started: {error}")
            return False
        watched.started_at, watched.restart_at = now, None
        return True

    def _record_exit(self, watched: _Watched, now: float, why: str) -> None:
        if now - watched.started_at > SETTLED_AFTER:
            watched.last_exit = None
        earlier = watched.last_exit.count if watched.last_exit else 0
        delay = min(MAX_RESTART_DELAY, MIN_RESTART_DELAY * 2**earlier)
        watched.restart_at = now + delay
        log_tail = child.tail(watched.member.log_path)
        watched.last_exit = Exit(watched.member.name, why, log_tail, earlier + 1, delay)
        self._report(watched.last_exit)


def _stop_together(members: Sequence[Member]) -> None:
    with ThreadPoolExecutor(len(members)) as stoppers:
        stopping = [stoppers.submit(member.stop) for member in members]
    for future in stopping:
        future.result()

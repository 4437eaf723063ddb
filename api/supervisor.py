"""The supervisor of several API processes: each has sockets of its own; a dead or silent one is replaced.

The kernel divides new connections among the sockets (SO_REUSEPORT). The supervisor keeps every socket open,
so the connections that wait for a dead process are served by its successor. Processes are forked, so that
they share the memory of the modules, and a successor is there at once.

By a socket pair a process shows its supervisor that it lives, and sees the supervisor's death.
"""

import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.process import BaseProcess
from typing import Final

import structlog

from shared.processes.pulse import Pulse
from shared.processes.silence import Silence, show_life

STOP_TIMEOUT: Final = 10.0  # seconds for a process to end after SIGTERM; its own limit is shorter
CHECK_INTERVAL: Final = 0.2  # seconds between two looks at the processes
YOUNG: Final = 5.0  # seconds; a process that dies younger has not really started
RESTART_PAUSE: Final = 1.0  # seconds before the successor of a young process starts
START_PAUSE: Final = 5.0  # seconds until a process is tried again for which the machine had no room
MAX_YOUNG_DEATHS: Final = 10
"""Deaths of young processes one after the other, after which the supervisor gives up."""

Sockets = Sequence[socket.socket]

Serve = Callable[[int, Sockets, Callable[[], object]], None]
"""What a process does until SIGTERM, with its number, its sockets, and a function that shows its life."""

log = structlog.get_logger(__name__)

_FORK: Final = multiprocessing.get_context("fork")


@dataclass(slots=True)
class _Member:
    number: int  # from 1 on
    process: BaseProcess | None = None
    started_at: float = 0.0
    start_at: float = 0.0  # when it is to be started
    link: socket.socket | None = None  # this end of it
    silence: Silence = field(default_factory=lambda: Silence(0))


class Supervisor:
    """Keeps the processes of the API running until it is told to stop. It has one thread."""

    def __init__(
        self,
        listeners: Sequence[Sockets],
        serve: Serve,
        pulse: Pulse | None = None,
        *,
        silence_limit: float,
        on_death: Callable[[], object] = lambda: None,
    ) -> None:
        """Make the supervisor of one process for each group of listening sockets.

        Args:
            listeners: the sockets of each process; they stay open as long as this object.
            pulse: shows the turns of this supervisor, and whether it lacks a process.
            silence_limit: seconds without a sign of life after which a ready process is killed.
            on_death: called when a process has died; it may not raise.
        """
        self._pulse = pulse or Pulse.unseen()
        self._listeners = listeners
        self._serve = serve
        self._on_death = on_death
        self._silence_limit = silence_limit
        self._members = [_Member(number) for number in range(1, len(listeners) + 1)]
        self._is_stopping = False
        self._young_deaths = 0

    def stop(self) -> None:
        """Have `run` end the processes and return; a signal handler may call it."""
        self._is_stopping = True

    def run(self) -> bool:
        """Keep the processes running; return whether it was told to stop, rather than gave up."""
        try:
            while not self._is_stopping and self._young_deaths < MAX_YOUNG_DEATHS:
                for member in self._members:
                    self._attend_to(member)
                self._pulse.turn(lacks_process=any(member.process is None for member in self._members))
                time.sleep(CHECK_INTERVAL)
        finally:
            self._end_all()
        return self._is_stopping

    def _attend_to(self, member: _Member) -> None:
        """Start a process that is not there; note one that has died."""
        now = time.monotonic()
        if member.process is None:
            if now >= member.start_at:
                self._try_to_start(member)
        elif (code := member.process.exitcode) is not None:
            is_young = now - member.started_at < YOUNG
            self._young_deaths = self._young_deaths + 1 if is_young else 0
            log.error("process died", number=member.number, pid=member.process.pid, code=code)
            member.process.close()
            member.process = None
            self._on_death()
            member.start_at = now + RESTART_PAUSE * is_young
        else:
            self._kill_if_silent(member)

    def _try_to_start(self, member: _Member) -> None:
        """Start a process, or put it off: the others go on where there is no room for another."""
        try:
            self._start(member)
        except OSError as error:  # no memory, process number or file
            member.start_at = time.monotonic() + START_PAUSE
            log.warning("process not started", number=member.number, error=str(error))

    def _start(self, member: _Member) -> None:
        if member.link is not None:
            member.link.close()
        member.link, far_end = socket.socketpair()
        member.link.setblocking(False)
        with far_end:
            process = _FORK.Process(target=self._live, args=(member.number, far_end))
            process.start()
        member.process = process
        member.started_at = time.monotonic()
        member.silence = Silence(self._silence_limit)

    def _kill_if_silent(self, member: _Member) -> None:
        """Kill a process that is stopped, or whose loop does not turn: its callers would wait for ever."""
        assert member.process is not None  # noqa: S101  # for the type checker
        assert member.link is not None  # noqa: S101  # likewise
        with suppress(OSError):  # it has sent nothing, or has just died
            if message := member.link.recv(4096):
                member.silence.hear(message)
        if member.silence.is_too_long():
            seconds = round(member.silence.seconds, 1)
            log.error("process killed: it fell silent", pid=member.process.pid, seconds=seconds)
            member.process.kill()
            member.silence.end(is_ready=True)  # it is killed again if it is still there after that time

    def _live(self, number: int, link: socket.socket) -> None:
        """Serve as one of the processes, until SIGTERM or the death of the supervisor."""
        for member in self._members:
            if member.link is not None:
                member.link.close()
        for other, sockets in enumerate(self._listeners, 1):
            for taken in sockets if other != number else ():
                taken.close()

        def wait() -> None:
            with suppress(OSError):
                link.recv(1)  # the supervisor sends nothing; EOF is its death
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=wait, name="supervisor-link", daemon=True).start()
        self._serve(number, self._listeners[number - 1], partial(show_life, link, is_ready=True))

    def _end_all(self) -> None:
        """Have all processes end their requests and streams, and kill those that take too long."""
        running = [member.process for member in self._members if member.process is not None]
        for process in running:
            process.terminate()
        until = time.monotonic() + STOP_TIMEOUT
        for process in running:
            process.join(max(0.0, until - time.monotonic()))
            if process.exitcode is None:
                log.warning("process killed: it did not end in time", pid=process.pid)
                process.kill()
                process.join()
        for member in self._members:
            if member.link is not None:
                member.link.close()

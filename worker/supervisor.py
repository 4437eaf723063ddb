"""Keeps the worker processes of one machine running: starts, replaces and stops them."""

import os
import selectors
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from shared.processes.hidden import hidden_module
from shared.settings import Settings
from worker.lifeline import EX_RECYCLE, SUCCESSOR_WANTED
from worker.options import ProcessOptions, SupervisorOptions
from worker.structures.remains import adopt_orphans, end_orphans

EX_DRAINED: Final = 0
"""The exit code of a process that was drained; if we have not told it to, an operator has."""

YOUNG: Final = 10.0  # seconds; who dies younger may well die again
PAUSE_FIRST: Final = 0.5  # seconds until one that died young is started again, doubled each time
PAUSE_MOST: Final = 30.0  # seconds
MOST_DOUBLINGS: Final = 10  # enough to get there, and no number to overflow after days of it
STOP_MARGIN: Final = 5.0  # seconds beyond the graces until a stopping process is killed

Command = Callable[[ProcessOptions], Sequence[str]]

log = structlog.get_logger(__name__)


def worker_process(options: ProcessOptions) -> Sequence[str]:
    """The command that starts a worker process."""
    return [*hidden_module("worker.process"), *options.arguments()]


@dataclass(eq=False)
class Child:
    """A worker process, seen from its supervisor."""

    process: subprocess.Popen[bytes]
    line: socket.socket
    number: int
    started_at: float

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it and what it started; it leads a group of its own."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


@dataclass(eq=False)
class Place:
    """Where one worker process is to run at any time."""

    child: Child | None = None
    retiring: Child | None = None  # sees its runs out; its successor has the place
    due: float = field(default_factory=time.monotonic)  # when a process is to be started here
    early_deaths: int = 0

    def vacate(self, now: float, code: int) -> float:
        """Note that the process ended; return the pause until another is to be started."""
        child, self.child = self.child, None
        if child is not None and now - child.started_at < YOUNG and code != EX_RECYCLE:
            return self.postpone(now)
        self.early_deaths = 0
        self.due = now
        return 0.0

    def postpone(self, now: float) -> float:
        """Wait with the next start, longer from time to time; return the pause."""
        pause = min(PAUSE_MOST, PAUSE_FIRST * 2.0 ** min(self.early_deaths, MOST_DOUBLINGS))
        self.early_deaths += 1
        self.due = now + pause
        return pause


class Supervisor:
    """Runs in the main thread of a process of its own, since it lives on signals."""

    def __init__(
        self, options: SupervisorOptions, settings: Settings, *, command: Command = worker_process
    ) -> None:
        self._options = options
        self._holder = uuid.uuid4()  # a number is given again only once who had it has ended
        self._command = command
        self._stop_patience = (settings.drain_grace + settings.cancel_grace).total_seconds() + STOP_MARGIN
        self._places = [Place() for _ in range(options.processes)]
        self._selector = selectors.DefaultSelector()
        self._stops_asked = 0
        self._stops_passed_on = 0
        self._deadline = float("inf")
        self._has_killed = False

    def run(self) -> int:
        """Keep the processes running until told to stop, or until an operator has drained one of them.

        Returns:
            The exit code: 0 if every process ended by itself, 1 if one had to be killed.
        """
        self._listen_to_signals()
        adopt_orphans()
        log.info(
            "worker started",
            worker=self._options.name,
            processes=len(self._places),
            pool=self._options.pool,
        )
        while True:
            self._pass_stops_on()
            self._start_due()
            if self._stops_asked and not self._children():
                break
            self._wait()
            self._reap()
            self._kill_late()
        log.info("worker stopped", killed=self._has_killed)
        return 1 if self._has_killed else 0

    def _children(self) -> list[Child]:
        return [
            child for place in self._places for child in (place.child, place.retiring) if child is not None
        ]

    def _listen_to_signals(self) -> None:
        ear, mouth = socket.socketpair()
        ear.setblocking(False)
        mouth.setblocking(False)
        self._selector.register(ear, selectors.EVENT_READ)
        self._mouth = mouth  # the interpreter keeps its number only
        signal.set_wakeup_fd(mouth.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop_signal)

    def _on_stop_signal(self, *_: object) -> None:
        self._stops_asked += 1

    def _pass_stops_on(self) -> None:
        """Tell the processes as often as we were told; each time more urgent to them."""
        while self._stops_passed_on < self._stops_asked:
            if not self._stops_passed_on:
                self._deadline = time.monotonic() + self._stop_patience
                log.info("worker stopping", patience_seconds=self._stop_patience)
            self._stops_passed_on += 1
            for child in self._children():
                child.send(signal.SIGTERM)

    def _start_due(self) -> None:
        if self._stops_asked:
            return
        for place in self._places:
            now = time.monotonic()
            if place.child is None and place.due <= now:
                try:
                    place.child = self._start()
                except OSError as error:  # no memory, no more processes
                    pause = place.postpone(now)
                    log.warning("process not started", error=str(error), restart_in_seconds=pause)

    def _start(self) -> Child:
        number = min(set(range(1, 2 * len(self._places) + 1)) - {child.number for child in self._children()})
        line, far_end = socket.socketpair()
        options = replace(self._options.of_process(number, self._holder), lifeline=far_end.fileno())
        try:
            process = self._spawn(options, far_end)
        except OSError:
            line.close()
            raise
        finally:
            far_end.close()
        line.setblocking(False)
        child = Child(process, line, number, time.monotonic())
        self._selector.register(line, selectors.EVENT_READ, child)
        log.info("process started", pid=process.pid, name=options.name)
        return child

    def _spawn(self, options: ProcessOptions, far_end: socket.socket) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603  # our own program
            self._command(options),
            pass_fds=[far_end.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # a terminal's Ctrl-C is ours to pass on
        )

    def _wait(self) -> None:
        """Wait for a signal, a word from a process, or the time of something due."""
        times = [place.due for place in self._places if place.child is None and not self._stops_asked]
        next_at = min([self._deadline, *times])
        timeout = None if next_at == float("inf") else max(0.0, next_at - time.monotonic())
        for key, _ in self._selector.select(timeout):
            line = key.fileobj
            assert isinstance(line, socket.socket)  # noqa: S101  # we register nothing else
            try:
                said = line.recv(4096)
            except OSError:
                said = b""
            if key.data is not None:
                self._hear(key.data, said)

    def _hear(self, child: Child, said: bytes) -> None:
        if not said:
            self._selector.unregister(child.line)
        elif SUCCESSOR_WANTED in said:
            self._retire(child)

    def _retire(self, child: Child) -> None:
        """Give the place of a process that takes nothing new to another, while it sees its runs out."""
        for place in self._places:
            if place.child is child and place.retiring is None:
                log.info("process retires", pid=child.process.pid)
                place.child, place.retiring, place.due = None, child, time.monotonic()

    def _reap(self) -> None:
        for place in self._places:
            if place.retiring is not None and self._has_ended(place.retiring):
                log.info("retired process ended", code=place.retiring.process.returncode)
                place.retiring = None
            if place.child is not None and self._has_ended(place.child):
                process = place.child.process
                pause = place.vacate(time.monotonic(), process.returncode)
                note = log.bind(pid=process.pid, code=process.returncode)
                if self._stops_asked:
                    note.info("process stopped")
                elif process.returncode == EX_DRAINED:
                    note.info("process drained by an operator: the others are to follow")
                    self._stops_asked = 1
                else:
                    note.warning("process ended", restart_in_seconds=pause)

        end_orphans(known=[child.process.pid for child in self._children()])

    def _has_ended(self, child: Child) -> bool:
        if child.process.poll() is None:
            return False
        with suppress(KeyError):  # its end of the line was heard already
            self._selector.unregister(child.line)
        child.line.close()
        return True

    def _kill_late(self) -> None:
        if time.monotonic() < self._deadline:
            return
        self._deadline = float("inf")
        for child in self._children():
            log.error("process killed: it would not stop", pid=child.process.pid)
            self._has_killed = True
            child.kill()

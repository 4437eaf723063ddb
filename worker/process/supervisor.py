"""The supervisor: starts, replaces and stops the processes of a worker, and kills those that fell silent."""

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
from pathlib import Path
from typing import Final

import structlog

from shared.processes.hidden import hidden_module
from shared.processes.pulse import Kind, Limits, Part, Pulse
from shared.processes.silence import BEAT_INTERVAL, Silence, silence_limit
from shared.processes.starting import begin_pulse, probe_limit
from shared.settings import Settings
from worker.executors.program.orphans import adopt_orphans, kill_orphans
from worker.process.options import ProcessOptions, SupervisorOptions
from worker.process.supervisor_link import EX_RECYCLE, SUCCESSOR_WANTED

EX_DRAINED: Final = 0
"""The exit code of a drained process. Without an order of the supervisor, an operator drained it."""

STABLE_AFTER: Final = 10.0  # seconds; a process that exits sooner is restarted with a growing delay
MIN_RESTART_DELAY: Final = 0.5  # seconds after the first early exit, doubled each time
MAX_RESTART_DELAY: Final = 30.0  # seconds
MAX_DOUBLINGS: Final = 10  # enough for MAX_RESTART_DELAY, and no overflow after days
STOP_MARGIN: Final = 5.0  # seconds beyond the graces until a stopping process is killed

Command = Callable[[ProcessOptions], Sequence[str]]

log = structlog.get_logger(__name__)


def worker_process(options: ProcessOptions) -> Sequence[str]:
    """Return the command that starts a worker process."""
    return [*hidden_module("worker.process.process"), *options.arguments()]


@dataclass(eq=False)
class Child:
    """A worker process, as its supervisor sees it."""

    process: subprocess.Popen[bytes]
    link: socket.socket
    number: int
    started_at: float
    silence: Silence

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill the process and its group, which it leads."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


@dataclass(eq=False)
class Replica:
    """One of the processes that a worker keeps running, restarted with a backoff."""

    child: Child | None = None
    retiring: Child | None = None  # finishes its runs beside its successor
    start_at: float = field(default_factory=time.monotonic)  # time of the next start
    early_exits: int = 0

    def record_exit(self, now: float, code: int) -> float:
        """Record that the child exited; return the seconds until the next start."""
        child, self.child = self.child, None
        if child is not None and now - child.started_at < STABLE_AFTER and code != EX_RECYCLE:
            return self.back_off(now)
        self.early_exits = 0
        self.start_at = now
        return 0.0

    def back_off(self, now: float) -> float:
        """Delay the next start, longer each time; return the delay in seconds."""
        delay = min(MAX_RESTART_DELAY, MIN_RESTART_DELAY * 2.0 ** min(self.early_exits, MAX_DOUBLINGS))
        self.early_exits += 1
        self.start_at = now + delay
        return delay


class Supervisor:
    """Runs in the main thread of its own process, since it handles signals."""

    def __init__(
        self,
        options: SupervisorOptions,
        settings: Settings,
        *,
        command: Command = worker_process,
        metrics: Path | None = None,
    ) -> None:
        """Make the supervisor of a worker.

        Args:
            command: starts a process.
            metrics: the directory into which the processes write their metrics, if they have any.
        """
        self._options = options
        self._holder = uuid.uuid4()  # a successor takes the name of a process only after its exit
        self._command = command
        self._metrics = metrics
        self._stop_timeout = (settings.drain_grace + settings.cancel_grace).total_seconds() + STOP_MARGIN
        self._replicas = [Replica() for _ in range(options.processes)]
        self._selector = selectors.DefaultSelector()
        self._settings = settings
        self._pulse = Pulse.unseen()
        self._stops_asked = 0
        self._stops_passed_on = 0
        self._deadline = float("inf")
        self._has_killed = False

    def run(self) -> int:
        """Keep the processes running until a stop signal, or until an operator has drained one of them.

        Returns:
            The exit code: 0 if every process exited by itself, 1 if the supervisor killed one.
        """
        self._install_signal_handlers()
        adopt_orphans()
        limits = Limits(turn=probe_limit(self._settings))
        self._pulse = begin_pulse(Kind.WORKER, self._options.name, limits, part=Part.SUPERVISOR)
        log.info(
            "worker started",
            worker=self._options.name,
            processes=len(self._replicas),
            pool=self._options.pool,
        )
        while True:
            self._pass_stops_on()
            self._start_due()
            if self._stops_asked and not self._children():
                break
            self._wait()
            self._reap()
            self._kill_silent()
            has_gap = any(replica.child is None for replica in self._replicas)
            self._pulse.turn(lacks_process=has_gap and not self._stops_asked)
            if time.monotonic() >= self._deadline:
                self._deadline = float("inf")
                for child in self._children():
                    log.error("process killed: it would not stop", pid=child.process.pid)
                    self._has_killed = True
                    child.kill()
        self._pulse.close()
        log.info("worker stopped", killed=self._has_killed)
        return 1 if self._has_killed else 0

    def _children(self) -> list[Child]:
        return [
            child
            for replica in self._replicas
            for child in (replica.child, replica.retiring)
            if child is not None
        ]

    def _install_signal_handlers(self) -> None:
        """Make a signal wake the selector, by a byte that the interpreter writes to a socket."""
        wakeup, self._wakeup_writer = socket.socketpair()
        for end in (wakeup, self._wakeup_writer):
            end.setblocking(False)
        self._selector.register(wakeup, selectors.EVENT_READ)
        signal.set_wakeup_fd(self._wakeup_writer.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop_signal)

    def _on_stop_signal(self, *_: object) -> None:
        self._stops_asked += 1

    def _pass_stops_on(self) -> None:
        """Send each stop signal on to the processes; each one makes them hurry more."""
        while self._stops_passed_on < self._stops_asked:
            if not self._stops_passed_on:
                self._deadline = time.monotonic() + self._stop_timeout
                log.info("worker stopping", timeout_seconds=self._stop_timeout)
            self._stops_passed_on += 1
            for child in self._children():
                child.send(signal.SIGTERM)

    def _start_due(self) -> None:
        if self._stops_asked:
            return
        for replica in self._replicas:
            now = time.monotonic()
            if replica.child is None and replica.start_at <= now:
                try:
                    replica.child = self._start()
                except OSError as error:  # no memory, or no process number
                    delay = replica.back_off(now)
                    log.warning("process not started", error=str(error), restart_in_seconds=delay)

    def _start(self) -> Child:
        used = {child.number for child in self._children()}
        number = min(set(range(1, 2 * len(self._replicas) + 1)) - used)
        link, far_end = socket.socketpair()
        options = replace(
            self._options.of_process(number, self._holder),
            supervisor_link=far_end.fileno(),
            metrics=self._metrics,
        )
        try:
            process = subprocess.Popen(  # noqa: S603  # our own program
                self._command(options),
                pass_fds=[far_end.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # the supervisor passes a terminal's Ctrl-C on
            )
        except OSError:
            link.close()
            raise
        finally:
            far_end.close()
        link.setblocking(False)
        child = Child(process, link, number, time.monotonic(), Silence(silence_limit(self._settings)))
        self._selector.register(link, selectors.EVENT_READ, child)
        log.info("process started", pid=process.pid, name=options.name)
        return child

    def _wait(self) -> None:
        """Wait for a signal, a message of a process, or the next check; read the messages."""
        starts = [
            replica.start_at for replica in self._replicas if replica.child is None and not self._stops_asked
        ]
        next_at = min([self._deadline, *starts])
        timeout = min(BEAT_INTERVAL, max(0.0, next_at - time.monotonic()))
        for key, _ in self._selector.select(timeout):
            end = key.fileobj
            assert isinstance(end, socket.socket)  # noqa: S101  # nothing else is registered
            try:
                message = end.recv(4096)
            except OSError:
                message = b""
            if key.data is None:
                continue  # the wake-up of a signal
            if not message:
                self._selector.unregister(end)
                continue
            child: Child = key.data
            child.silence.hear(message)
            if SUCCESSOR_WANTED in message:  # it takes no new runs: it finishes its own beside a successor
                for replica in self._replicas:
                    if replica.child is child and replica.retiring is None:
                        log.info("process retires", pid=child.process.pid)
                        replica.child, replica.retiring = None, child
                        replica.start_at = time.monotonic()

    def _reap(self) -> None:
        for replica in self._replicas:
            if replica.retiring is not None and self._has_exited(replica.retiring):
                log.info("retired process ended", code=replica.retiring.process.returncode)
                replica.retiring = None
            if replica.child is not None and self._has_exited(replica.child):
                process = replica.child.process
                delay = replica.record_exit(time.monotonic(), process.returncode)
                note = log.bind(pid=process.pid, code=process.returncode)
                if self._stops_asked:
                    note.info("process stopped")
                elif process.returncode == EX_DRAINED:
                    note.info("process drained by an operator: the others follow")
                    self._stops_asked = 1
                else:
                    note.warning("process ended", restart_in_seconds=delay)
        kill_orphans(known=[child.process.pid for child in self._children()])

    def _kill_silent(self) -> None:
        """Kill processes whose leases have lapsed by their silence: their runs are others' now."""
        for child in self._children():
            if child.silence.is_too_long():
                seconds = round(child.silence.seconds, 1)
                log.error("process killed: it fell silent", pid=child.process.pid, seconds=seconds)
                child.kill()
                child.silence.end(is_ready=True)  # it is killed again if it is still there after that time

    def _has_exited(self, child: Child) -> bool:
        if child.process.poll() is None:
            return False
        with suppress(KeyError):  # its EOF was read already
            self._selector.unregister(child.link)
        child.link.close()
        return True

"""Vital threads and tasks: if one dies, the process logs it and is replaced."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

log = structlog.get_logger(__name__)


class Vitals:
    """The vital threads and tasks of a process.

    With a dead thread or task, a process looks healthy and does half of its work. So a death is
    logged, appears in `dead`, and calls the function of `on_death`, once.
    """

    def __init__(self) -> None:
        self._dead: list[str] = []
        self._act: Callable[[], object] | None = None
        self._is_closed = False
        self._lock = threading.Lock()

    @property
    def dead(self) -> tuple[str, ...]:
        """The names of dead threads and tasks."""
        return tuple(self._dead)

    def on_death(self, act: Callable[[], object]) -> None:
        """Call `act` at the first death, in the dying thread; at once if one has died already."""
        with self._lock:
            self._act = act
            is_late = bool(self._dead)
        if is_late:
            self._end()

    def start(self, name: str, work: Callable[[], object]) -> threading.Thread:
        """Do `work` in a daemon thread, which may return but must not raise."""
        thread = threading.Thread(target=self._watched, args=(name, work), name=name, daemon=True)
        thread.start()
        return thread

    def create_task(self, name: str, work: Coroutine[Any, Any, object]) -> asyncio.Task[object]:
        """Do `work` in a task, which must not end before `close`."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._task_ended)
        return task

    def close(self) -> None:
        """Ignore deaths from now on, since the process ends."""
        self._is_closed = True

    def _watched(self, name: str, work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # any error is a death
            self._note(name, error)

    def _task_ended(self, task: asyncio.Task[object]) -> None:
        error = None if task.cancelled() else task.exception()
        self._note(task.get_name(), error)

    def _note(self, name: str, error: BaseException | None) -> None:
        if self._is_closed:
            return
        log.critical(
            "the process has lost what it lives by, and is to be replaced", part=name, exc_info=error
        )
        with self._lock:
            self._dead.append(name)
        self._end()

    def _end(self) -> None:
        with self._lock:
            act, self._act = self._act, None
        if act is not None:
            act()

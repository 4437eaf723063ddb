"""The thread pool: its runs can be stopped, and abandoned if they do not stop."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import structlog
from billiard.einfo import ExceptionInfo
from celery.concurrency.base import BasePool
from celery.exceptions import Ignore

from shared.lifecycle import StoppedHow
from shared.metrics import definitions as metrics
from worker.cancellation import CancelToken, StopReason, in_slot
from worker.process.drain import Drain

log = structlog.get_logger(__name__)

Report = Callable[[], object]
"""Reports the end of a request to Celery."""


class RunAbandonedError(Exception):
    """A run did not stop and was abandoned; its process is recycled."""


class Job:
    """One Celery request and its thread; Celery has it as the result of `apply_async`."""

    last_resort: Final = StoppedHow.ABANDONED

    def __init__(
        self,
        work: Callable[[], Any],
        *,
        on_result: Callable[[Any], object],
        on_error: Callable[[ExceptionInfo], object],
        on_accepted: Callable[[int, float], object],
        pool: "TaskPool",
    ) -> None:
        self.token = CancelToken()
        self.accepted = threading.Event()
        self.is_revoked = False
        self.thread_id = 0
        self.work = work
        self.on_result = on_result
        self.on_error = on_error
        self.on_accepted = on_accepted
        self._pool = pool

    def abandon(self) -> None:
        """Free the slot of a run that does not stop, and recycle the process."""
        self._pool.abandon(self)

    def terminate(self, _signal: int) -> None:
        """Stop the run; `Request.terminate` calls this."""
        self._pool.stop_job(self)


class TaskPool(BasePool):
    """Executes each Celery request in a fresh daemon thread, at most `limit` at once.

    A fresh thread has no state of an earlier run, and a daemon thread does not delay the exit. Reports go
    through the event loop of the consumer: only its thread may change Celery's sets of requests.
    """

    signal_safe = False
    body_can_be_buffer = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.drain: Drain | None = None
        self._changed = threading.Condition()
        self._jobs: set[Job] = set()
        self._waiting: deque[Job] = deque()
        self._abandoned = 0
        self._reports: deque[Report] = deque()
        self._loop: Any = None  # the consumer's event loop; without one, reports are made at once
        metrics.SLOTS.set(self._limit)

    @property
    def num_processes(self) -> int:
        """The slots that Celery can use.

        Celery forgets a revoked request at once, but its thread has its slot until it ends.
        """
        with self._changed:
            return self._limit - sum(job.is_revoked for job in self._jobs)

    @property
    def _limit(self) -> int:
        limit: int = self.limit
        return limit

    def on_apply(  # type: ignore[override]  # the arguments that Celery passes by name
        self,
        target: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        callback: Callable[[Any], object],
        error_callback: Callable[[ExceptionInfo], object],
        accept_callback: Callable[[int, float], object],
        **_options: Any,
    ) -> Job:
        job = Job(
            partial(target, *args, **(kwargs or {})),
            on_result=callback,
            on_error=error_callback,
            on_accepted=accept_callback,
            pool=self,
        )
        with self._changed:
            self._waiting.append(job)
        self._fill()
        return job

    def terminate_job(self, pid: int, _signal: int | None = None) -> None:
        """Stop the run of the thread with the id `pid`."""
        with self._changed:
            job = next((job for job in self._jobs if job.thread_id == pid), None)
        if job is not None:
            self.stop_job(job)

    def stop_job(self, job: Job) -> None:
        """Stop a run for Celery, which regards its request as done from now on."""
        with self._changed:
            job.is_revoked = True
        job.token.cancel(StopReason.CANCELLED)

    def stop_runs(self, reason: StopReason) -> None:
        """Tell every run to stop."""
        with self._changed:
            jobs = [*self._jobs, *self._waiting]
        for job in jobs:
            job.token.cancel(reason)

    def wait_idle(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until no run is left; return whether none is."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._jobs or self._waiting), timeout)

    def abandon(self, job: Job) -> None:
        """Abandon a run: free its slot, forget its thread, recycle the process."""
        if not self._end(job, partial(_report_abandoned, job)):
            return
        self._abandoned += 1
        metrics.ABANDONED_THREADS.set(self._abandoned)
        log.error("thread abandoned", thread_id=job.thread_id)
        if self.drain is not None:
            self.drain.recycle()

    def grow(self, n: int = 1) -> None:
        self.limit = self._limit + n
        metrics.SLOTS.set(self._limit)
        self._fill()

    def shrink(self, n: int = 1) -> None:
        self.limit = max(1, self._limit - n)
        metrics.SLOTS.set(self._limit)

    def register_with_event_loop(self, loop: Any) -> None:
        self._loop = loop
        loop.call_soon(self._make_reports)

    def on_stop(self) -> None:
        self._loop = None  # it has stopped
        self._make_reports()
        if self.drain is not None:
            self.drain.complete()
        self._make_reports()

    def on_terminate(self) -> None:
        self.stop_runs(StopReason.DRAINED)
        self.on_stop()

    def _get_info(self) -> dict[str, Any]:
        with self._changed:
            threads = len(self._jobs)
            stopping = sum(job.token.is_cancelled for job in self._jobs)
        return {
            "implementation": f"{type(self).__module__}:{type(self).__qualname__}",
            "max-concurrency": self._limit,
            "threads": threads,
            "stopping": stopping,
            "abandoned": self._abandoned,
        }

    def _fill(self) -> None:
        while True:
            with self._changed:
                if not self._waiting or len(self._jobs) >= self._limit:
                    return
                job = self._waiting.popleft()
                self._jobs.add(job)
            metrics.BUSY_SLOTS.inc()
            thread = threading.Thread(target=self._execute, args=(job,), name="run", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system gives no more threads
                self._end(job, partial(job.on_error, ExceptionInfo()))
                continue
            job.thread_id = thread.native_id or 0
            try:
                job.on_accepted(job.thread_id, time.monotonic())
            finally:
                job.accepted.set()

    def _execute(self, job: Job) -> None:
        job.accepted.wait()  # Celery needs the start of a request before its end
        with in_slot(job):
            try:
                report = partial(job.on_result, job.work())
            except BaseException:  # noqa: BLE001  # the tracer lets SystemExit and its like through
                report = partial(job.on_error, ExceptionInfo())
        self._end(job, report)

    def _end(self, job: Job, report: Report) -> bool:
        """Free a job's slot and report its end; only the first call does, and returns True."""
        with self._changed:
            if job not in self._jobs:
                return False
            self._jobs.discard(job)
            self._changed.notify_all()
        metrics.BUSY_SLOTS.inc(by=-1)
        self._reports.append(report)
        self._reports.append(self._fill)
        loop = self._loop
        if loop is None:
            self._make_reports()
        else:
            loop.call_soon(self._make_reports)
        return True

    def _make_reports(self) -> None:
        while self._reports:
            try:
                self._reports.popleft()()
            except IndexError:  # another thread was faster
                return
            except Exception:
                log.exception("request not concluded")


def _report_abandoned(job: Job) -> None:
    """Conclude a request whose thread continues; a revoked one stays revoked in Flower."""
    error = Ignore() if job.is_revoked else RunAbandonedError()
    try:
        raise error  # Celery needs its traceback
    except type(error):
        failed, runtime = True, 0.0
        job.on_result((failed, ExceptionInfo(), runtime))

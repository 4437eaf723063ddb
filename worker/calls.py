"""Structures as tools: a call is a structure run of its own, which its caller waits for."""

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Final

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.artifacts import error_artifact, text_artifact
from shared.db import unit_of_work
from shared.errors import LeaseLostError, StructureNotFoundError
from shared.keys.principal import Principal
from shared.models import JsonObject, Run
from shared.runs.lifecycle import HELD, TERMINAL, RunStatus, StoppedHow
from shared.structures.runs import StructureRunRequest, submit
from shared.terms import Terms
from worker.cancellation import CancelToken, RunStopped, Seat, StopReason
from worker.outage import persistently
from worker.resources import Resources

FIRST_LOOK: Final = 0.1  # seconds; then half as long again each time
LAST_LOOK: Final = 1.0  # seconds

STEP_IN: Final = 2.0  # seconds that workers have to take a call, before its own worker executes it

log = structlog.get_logger(__name__)

Execute = Callable[[uuid.UUID, int, Seat], object]
"""Executes an attempt of a run in the calling thread, to its end; does nothing if somebody else has it."""


class ExtraSeat:
    """The seat of a call that its own worker executes: beside the pool, whose slots may all be callers."""

    last_resort: Final = StoppedHow.ABANDONED

    def __init__(self) -> None:
        self.token = CancelToken()

    def abandon(self) -> None:
        """Leave it: a program ends with its warden, and holds no slot."""


class StructureCalls:
    """Calls structures on behalf of one attempt of a run.

    A caller keeps its slot while it waits, so workers full of callers would wait for each other for ever.
    A call that nobody has taken for a while is therefore executed by its caller's own process, in a thread
    of its own; unless structures have a queue of their own, and so workers that are meant for them.
    """

    def __init__(
        self, resources: Resources, run_id: uuid.UUID, attempt: int, token: CancelToken, *, execute: Execute
    ) -> None:
        self._execute = execute
        self._resources = resources
        self._run_id = run_id
        self._attempt = attempt
        self._token = token

    def call(self, structure_id: uuid.UUID, args: Sequence[str]) -> JsonObject:
        """Run a structure and return its output, an artifact: an ErrorArtifact if it did not succeed.

        The run is a child of the caller's, and is cancelled with it.

        Raises:
            RunStopped: the calling run is to stop.
        """
        self._token.raise_if_cancelled()
        try:
            child = self._submit(structure_id, args)
        except StructureNotFoundError as gone:
            return error_artifact(gone.message)
        return _output_of(self._ended(child))

    def _submit(self, structure_id: uuid.UUID, args: Sequence[str]) -> uuid.UUID:
        try:
            with unit_of_work(self._resources.sessions) as session:
                caller = self._lock_caller(session)
                principal = Principal(
                    caller.organization_id, caller.created_by, caller.id, f"assistant run {caller.id}"
                )
                request = StructureRunRequest(args=args, parent_run_id=caller.id)
                terms = Terms.of(self._resources.settings)
                return submit(
                    session, self._resources.dispatcher, principal, structure_id, request, terms=terms
                ).id
        except LeaseLostError as lost:
            cancelled = lost.status == RunStatus.CANCELLED
            self._token.cancel(StopReason.CANCELLED if cancelled else StopReason.LEASE_LOST)
            raise RunStopped from lost

    def _lock_caller(self, session: Session) -> Run:
        """The calling run, held: it cannot end before its child is there to be cancelled with it.

        Raises:
            LeaseLostError: it is no longer this attempt's.
        """
        run = session.scalars(
            select(Run).where(Run.id == self._run_id).with_for_update(key_share=True)
        ).one_or_none()
        if run is None or run.status not in HELD or run.attempt != self._attempt:
            raise LeaseLostError(status=None if run is None else run.status)
        return run

    def _ended(self, run_id: uuid.UUID) -> Run:
        def read() -> Run:
            with unit_of_work(self._resources.sessions) as session:
                return session.get_one(Run, run_id)

        pause, step_in_at = FIRST_LOOK, self._step_in_at()
        seat = ExtraSeat()
        while True:
            run = persistently(read, grace=self._resources.settings.database_outage_grace)
            if run.status is RunStatus.CANCELLED:
                seat.token.cancel(StopReason.CANCELLED)  # no revoke reaches what is in no pool
            if run.status in TERMINAL:
                return run
            if run.status is RunStatus.QUEUED and time.monotonic() >= step_in_at:
                step_in_at = float("inf")
                self._step_in(run, seat)
            self._token.wait(pause)
            if self._token.reason is StopReason.CANCELLED:
                seat.token.cancel(StopReason.CANCELLED)  # it was cancelled with its caller
            self._token.raise_if_cancelled()
            pause = min(LAST_LOOK, pause * 1.5)

    def _step_in_at(self) -> float:
        settings = self._resources.settings
        has_own_workers = settings.structure_queue != settings.queue
        return float("inf") if has_own_workers else time.monotonic() + STEP_IN

    def _step_in(self, run: Run, seat: ExtraSeat) -> None:
        """Execute a call here, beside the pool."""
        log.info("call executed by its caller's worker: nobody took it", called_run_id=str(run.id))
        attempt = run.attempt + 1

        def execute() -> None:
            with structlog.contextvars.bound_contextvars(run_id=str(run.id), attempt=attempt):
                self._execute(run.id, attempt, seat)

        threading.Thread(target=execute, name="call", daemon=True).start()


def _output_of(run: Run) -> JsonObject:
    if run.status is not RunStatus.SUCCEEDED:
        detail = run.status_detail or {}
        return error_artifact(
            f"The structure run is {run.status}: {detail.get('message', 'no reason given')}"
        )
    if isinstance(run.output, dict):
        return run.output
    return text_artifact("The structure ended without an output.")

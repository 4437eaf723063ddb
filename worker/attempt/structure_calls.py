"""Structures as tools: a call is a structure run of its own; its caller waits for it."""

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Final

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.artifacts import error_artifact, text_artifact
from shared.errors import LeaseLostError, StructureNotFoundError
from shared.events.text import storable_text
from shared.fence import held_by
from shared.keys.principal import Principal
from shared.lifecycle import TERMINAL, RunStatus, StoppedHow
from shared.logs import about_run
from shared.metrics import definitions as metrics
from shared.models import JsonObject, Run
from shared.structures.runs import StructureRunRequest, submit
from worker.attempt.held_run import HeldRun
from worker.cancellation import CancelToken, Slot, StopReason

FIRST_POLL_INTERVAL: Final = 0.1  # seconds; each next one is half as long again
MAX_POLL_INTERVAL: Final = 1.0  # seconds

STEAL_AFTER: Final = 2.0  # seconds in the queue, after which the caller's own worker executes a call

log = structlog.get_logger(__name__)

Execute = Callable[[uuid.UUID, int, Slot], object]
"""Executes an attempt of a run in the calling thread, to its end; does nothing if another worker has it."""


class OffPoolSlot:
    """The slot of a call that its own worker executes: beside the pool, whose slots may all be callers."""

    last_resort: Final = StoppedHow.ABANDONED

    def __init__(self) -> None:
        self.token = CancelToken()

    def abandon(self) -> None:
        """Leave it: a program ends with its shim, and holds no slot."""


class StructureCalls:
    """Calls structures on behalf of one attempt of a run.

    A caller keeps its slot while it waits, so workers full of callers would wait for each other for ever.
    The caller's own process therefore steals a call that stays in the queue, and executes it in a thread
    beside the pool. Where structures have a queue of their own, and so workers of their own, it does not.
    """

    def __init__(self, caller: HeldRun, *, execute: Execute) -> None:
        self._caller = caller
        self._execute = execute

    def call(self, structure_id: uuid.UUID, args: Sequence[str]) -> JsonObject:
        """Run a structure and return its output, an artifact: an ErrorArtifact if it did not succeed.

        The run is a child of the caller's, and is cancelled with it.

        Raises:
            RunStopped: the token of the calling run has fired.
        """
        outcome = "stopped"
        try:
            output, is_success = self._called(structure_id, args)
            outcome = "succeeded" if is_success else "failed"
        finally:
            metrics.STRUCTURE_CALLS.inc(outcome)
        return output

    def _called(self, structure_id: uuid.UUID, args: Sequence[str]) -> tuple[JsonObject, bool]:
        """Run a structure; return its output, and whether it has succeeded.

        Raises:
            RunStopped: as `call`.
        """
        self._caller.token.raise_if_cancelled()
        try:
            run_id = self._submit(structure_id, args)
        except StructureNotFoundError as gone:
            return error_artifact(gone.message), False
        run = self._ended(run_id)
        if run is None:
            return error_artifact("The structure run was deleted."), False
        if run.status is not RunStatus.SUCCEEDED:
            reason = (run.status_detail or {}).get("message", "no reason given")
            return error_artifact(f"The structure run is {run.status}: {reason}"), False
        if isinstance(run.output, dict):
            return run.output, True
        return text_artifact("The structure ended without an output."), True

    def _submit(self, structure_id: uuid.UUID, args: Sequence[str]) -> uuid.UUID:
        """Submit a structure run, once, also through an outage.

        Raises:
            RunStopped: the caller is lost, or PostgreSQL was away for too long.
            StructureNotFoundError: there is no such structure any more.
        """
        resources, run_id = self._caller.resources, self._caller.id
        request = StructureRunRequest(args=[storable_text(arg) for arg in args], parent_run_id=run_id)

        def submit_once(session: Session) -> None:
            # With the caller locked: it cannot end before it has a child to cancel.
            held = held_by(self._caller.attempt, run_id=run_id)
            caller = session.scalars(select(Run).where(held).with_for_update(key_share=True)).one_or_none()
            if caller is None:
                raise LeaseLostError(status=session.scalar(select(Run.status).where(Run.id == run_id)))
            if session.get(Run, request.run_id) is not None:
                return  # by a commit whose answer got lost
            name = f"assistant run {caller.id}"
            principal = Principal(caller.organization_id, caller.created_by, caller.id, name)
            terms = resources.settings.terms
            submit(session, resources.dispatcher, principal, structure_id, request, terms=terms)

        self._caller.write(submit_once)
        return request.run_id

    def _ended(self, run_id: uuid.UUID) -> Run | None:
        """Wait for a call to end; steal it once it has been in the queue for long enough.

        Returns:
            The run; None if somebody has deleted it.
        """
        settings, token = self._caller.resources.settings, self._caller.token
        has_own_workers = settings.structure_queue != settings.run_queue
        interval = FIRST_POLL_INTERVAL
        steal_at = float("inf") if has_own_workers else time.monotonic() + STEAL_AFTER
        slot = OffPoolSlot()
        while True:
            run = self._caller.write(lambda session: session.get(Run, run_id))
            if run is None or run.status is RunStatus.CANCELLED:
                slot.token.cancel(StopReason.CANCELLED)  # no revoke reaches what is in no pool
            if run is None or run.status in TERMINAL:
                return run
            if run.status is RunStatus.QUEUED and time.monotonic() >= steal_at:
                steal_at = float("inf")
                self._steal(run, slot)
            token.wait(interval)
            if token.reason is StopReason.CANCELLED:
                slot.token.cancel(StopReason.CANCELLED)  # it was cancelled with its caller
            token.raise_if_cancelled()
            interval = min(MAX_POLL_INTERVAL, interval * 1.5)

    def _steal(self, run: Run, slot: OffPoolSlot) -> None:
        """Execute a call here, beside the pool."""
        log.info("call executed by its caller's worker: it stayed in the queue", called_run_id=str(run.id))
        attempt = run.attempt + 1

        def execute() -> None:
            with about_run(run.id, attempt):
                self._execute(run.id, attempt, slot)

        threading.Thread(target=execute, name="call", daemon=True).start()

"""A dispatcher that sends nothing and remembers what it would have sent."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, Engine
from sqlalchemy.orm import Session

from shared.db import after_commit
from shared.dispatch import shares
from shared.dispatch.dispatcher import NOBODY
from shared.dispatch.task_events import TaskEvent
from shared.events.log import StoredEvent
from shared.lifecycle import RunKind


@dataclass
class RecordingDispatcher:
    """Stands in for the `Dispatcher`; what was asked for counts once it is committed."""

    enqueued: list[tuple[uuid.UUID, int]] = field(default_factory=list)
    revoked: list[tuple[uuid.UUID, int]] = field(default_factory=list)
    told: list[TaskEvent] = field(default_factory=list)
    announced: list[StoredEvent] = field(default_factory=list)
    kinds: dict[uuid.UUID, RunKind] = field(default_factory=dict)
    owners: dict[uuid.UUID, Mapping[str, str]] = field(default_factory=dict)
    waiting: frozenset[str] | None = frozenset()  # tasks whose messages the broker is to hold; None: too many
    queue_of: Mapping[RunKind, str] = field(default_factory=lambda: dict.fromkeys(RunKind, "runs"))
    share: int | None = None  # of the workers, in runs, that one organization may have

    def enqueue(
        self,
        session: Session,
        run_id: uuid.UUID,
        *,
        attempt: int,
        kind: RunKind = RunKind.ASSISTANT,
        owners: Mapping[str, str] = NOBODY,
    ) -> None:
        self.kinds[run_id] = kind
        self.owners[run_id] = owners
        after_commit(session, lambda: self.enqueued.append((run_id, attempt)))

    def enqueue_next(self, session: Session, organization_id: uuid.UUID) -> None:
        database = session.get_bind()
        after_commit(session, lambda: self._enqueue_next(database, organization_id))

    def _enqueue_next(self, database: Engine | Connection, organization_id: uuid.UUID) -> None:
        if self.share is not None:
            with Session(database) as session, session.begin():
                for run in shares.take_next(session, organization_id, share=self.share):
                    self.send(run.run_id, attempt=run.attempt, kind=run.kind)

    def revoke(self, session: Session, run_id: uuid.UUID, *, attempt: int) -> None:
        after_commit(session, lambda: self.revoked.append((run_id, attempt)))

    def announce(self, session: Session, events: Sequence[StoredEvent]) -> None:
        after_commit(session, lambda: self.announced.extend(events))

    def tell_watchers(self, session: Session, events: Sequence[TaskEvent]) -> None:
        after_commit(session, lambda: self.told.extend(events))

    def send(self, run_id: uuid.UUID, *, attempt: int, kind: RunKind = RunKind.ASSISTANT) -> None:
        self.kinds[run_id] = kind
        self.enqueued.append((run_id, attempt))

    def waiting_tasks(self) -> frozenset[str] | None:
        return self.waiting

    def close(self) -> None:
        """Nothing is open."""

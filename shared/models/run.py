"""The table of runs. Only `shared.runs.moves` changes a status."""

import uuid
from datetime import datetime
from typing import Any, Final

from sqlalchemy import BigInteger, CheckConstraint, Computed, Enum, ForeignKeyConstraint, Index, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from shared.lifecycle import ACTIVE, HELD, TERMINAL, RunKind, RunStatus
from shared.models.assistant import LIMITS_ARE_POSITIVE, Limits, Resources
from shared.models.base import Base, Identified, JsonObject, Timestamped


def _listed(statuses: frozenset[RunStatus]) -> str:
    return ", ".join(f"'{status}'" for status in sorted(statuses))


_IS_HELD = f"status IN ({_listed(HELD)})"
_IS_ACTIVE = f"status IN ({_listed(ACTIVE)})"
_IS_WAITING = "waits_for_thread AND status = 'QUEUED'"
_IS_TERMINAL = f"status IN ({_listed(TERMINAL)})"


def trace_id_of(run_id: uuid.UUID, traceparent: str | None) -> str:
    """The id of the trace of a run; a run without a place in another's trace begins one of its own id."""
    return run_id.hex if traceparent is None else traceparent.split("-")[1]


class Run(Resources, Limits, Identified, Timestamped, Base):
    """One execution of an assistant, or of a structure.

    The row is also the outbox: the reconciler sends a QUEUED run again if its Celery message got lost,
    paced by `dispatched_at` and `dispatch_count`.
    `attempt` is the fencing token; `losses` counts against the limit of attempts.
    A run that is cancelled while a worker holds it `is_stopping`, and keeps its lease, until the worker
    reports how the work stopped. A run that `waits_for_thread` is sent to no worker until the earlier runs
    of its thread have ended; a run that ends while it waits keeps the mark.
    The caller executes a structure run that `is_external`: no worker has it, and its lease is nominal.
    """

    __tablename__ = "runs"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "assistant_id"],
            ["assistants.organization_id", "assistants.id"],
            ondelete="CASCADE",
        ),
        ForeignKeyConstraint(
            ["organization_id", "structure_id"],
            ["structures.organization_id", "structures.id"],
            ondelete="CASCADE",
        ),
        ForeignKeyConstraint(["parent_run_id"], ["runs.id"], ondelete="SET NULL"),
        CheckConstraint("num_nonnulls(assistant_id, structure_id) = 1", name="one_subject"),
        CheckConstraint("NOT is_external OR structure_id IS NOT NULL", name="external"),
        ForeignKeyConstraint(
            ["organization_id", "thread_id"],
            ["threads.organization_id", "threads.id"],
            ondelete="SET NULL (thread_id)",
        ),
        ForeignKeyConstraint(["created_by"], ["users.id"]),
        CheckConstraint(f"({_IS_TERMINAL}) = (completed_at IS NOT NULL)", name="one_end"),
        CheckConstraint(
            f"NOT ({_IS_HELD}) OR (worker IS NOT NULL AND lease_expires_at IS NOT NULL)",
            name="held_by_a_worker",
        ),
        CheckConstraint(f"lease_expires_at IS NULL OR {_IS_HELD} OR is_stopping", name="lease_is_held"),
        CheckConstraint(
            "NOT is_stopping OR (status = 'CANCELLED' AND lease_expires_at IS NOT NULL)", name="stopping"
        ),
        CheckConstraint(
            "status NOT IN ('RUNNING', 'SUCCEEDED', 'FAILED') OR started_at IS NOT NULL",
            name="started",
        ),
        CheckConstraint(LIMITS_ARE_POSITIVE, name="limits"),
        CheckConstraint("NOT waits_for_thread OR attempt = 0", name="waiting"),
        CheckConstraint(
            "status <> 'SUCCEEDED' OR output IS NOT NULL OR structure_id IS NOT NULL",
            name="success_has_output",
        ),
        CheckConstraint(
            "attempt >= 0 AND losses BETWEEN 0 AND attempt AND event_count >= 0 AND log_count >= 0",
            name="counters",
        ),
        # What lists are read by: all runs of an assistant or a structure, or of an organization's
        # assistants or structures, and those in one status; by metadata, see `RunMetadata`.
        Index("ix_runs_page", "organization_id", "subject_id", text("created_at DESC"), "id"),
        Index("ix_runs_status", "organization_id", "subject_id", "status", text("created_at DESC"), "id"),
        Index(
            "ix_runs_organization",
            "organization_id",
            "created_at",
            "id",
            postgresql_where=text("assistant_id IS NOT NULL"),
        ),
        Index(
            "ix_runs_organization_status",
            "organization_id",
            "status",
            "created_at",
            "id",
            postgresql_where=text("assistant_id IS NOT NULL"),
        ),
        Index(
            "ix_runs_structures",
            "organization_id",
            "created_at",
            "id",
            postgresql_where=text("structure_id IS NOT NULL"),
        ),
        Index(
            "ix_runs_structures_status",
            "organization_id",
            "status",
            "created_at",
            "id",
            postgresql_where=text("structure_id IS NOT NULL"),
        ),
        # The runs that did not just complete, by the reason. Written as a status changes, like those above.
        Index(
            "ix_runs_reason",
            "organization_id",
            text("(status_detail ->> 'reason')"),
            "created_at",
            "id",
            postgresql_where=text("(status_detail ->> 'reason') <> 'Completed'"),
        ),
        # What the reconciler polls. No column that a heartbeat writes is indexed, so that
        # renewing a lease stays a heap-only update.
        Index("ix_runs_queued", "created_at", postgresql_where=text("status = 'QUEUED'")),
        # How many an organization has in the queue.
        Index("ix_runs_queued_of", "organization_id", postgresql_where=text("status = 'QUEUED'")),
        Index("ix_runs_held", "id", postgresql_where=text(_IS_HELD)),
        Index(
            "ix_runs_stopping",
            "id",
            postgresql_where=text("is_stopping"),
        ),
        # One run at a time has a thread; the others wait for it, in the order of their creation.
        Index(
            "uq_runs_thread",
            "thread_id",
            unique=True,
            postgresql_where=text(f"thread_id IS NOT NULL AND {_IS_ACTIVE} AND NOT waits_for_thread"),
        ),
        Index("ix_runs_parent", "parent_run_id", postgresql_where=text("parent_run_id IS NOT NULL")),
        Index(
            "ix_runs_on_thread",
            "thread_id",
            "created_at",
            "id",
            postgresql_where=text("thread_id IS NOT NULL"),
        ),
        Index("ix_runs_waiting", "thread_id", "created_at", postgresql_where=text(_IS_WAITING)),
        {"postgresql_with": {"fillfactor": 80}},
    )

    organization_id: Mapped[uuid.UUID]
    assistant_id: Mapped[uuid.UUID | None]
    structure_id: Mapped[uuid.UUID | None]
    # Whichever of the two is run: what lists and tallies go by.
    subject_id: Mapped[uuid.UUID] = mapped_column(
        Computed("coalesce(assistant_id, structure_id)", persisted=True)
    )
    parent_run_id: Mapped[uuid.UUID | None]  # the assistant run that called the structure as a tool
    deployment_id: Mapped[uuid.UUID | None]
    created_by: Mapped[uuid.UUID]

    thread_id: Mapped[uuid.UUID | None]
    waits_for_thread: Mapped[bool] = mapped_column(server_default="false")
    input: Mapped[str | None]
    is_external: Mapped[bool] = mapped_column(server_default="false")
    env_vars: Mapped[list[Any] | None] = mapped_column(JSONB(none_as_null=True))  # of a structure run
    args: Mapped[list[Any]] = mapped_column(JSONB, server_default="[]")
    stream: Mapped[bool] = mapped_column(server_default="false")
    model: Mapped[str | None]
    llm_params: Mapped[JsonObject | None]
    guardrails: Mapped[JsonObject | None]
    additional_parameters: Mapped[JsonObject | None]
    meta: Mapped[JsonObject] = mapped_column("metadata", server_default="{}")  # what its caller noted

    traceparent: Mapped[str | None]  # W3C: the span below which its attempts hang; None begins a trace

    status: Mapped[RunStatus] = mapped_column(
        Enum(RunStatus, native_enum=False, create_constraint=True, name="status", length=9)
    )
    status_detail: Mapped[JsonObject | None]
    output: Mapped[Any | None] = mapped_column(JSONB(none_as_null=True))
    output_at: Mapped[float | None]  # of a structure run: when its code said so, in epoch seconds
    usage: Mapped[JsonObject | None]

    attempt: Mapped[int] = mapped_column(server_default="0")
    losses: Mapped[int] = mapped_column(server_default="0")
    event_count: Mapped[int] = mapped_column(server_default="0")
    # Of itself, its events and its spans.
    stored_bytes: Mapped[int] = mapped_column(BigInteger, server_default="0")
    log_count: Mapped[int] = mapped_column(server_default="0")
    worker: Mapped[str | None] = mapped_column(Text)
    process: Mapped[str | None]  # host/process id: which of the worker's processes has it, or had it last
    lease_expires_at: Mapped[datetime | None]
    is_stopping: Mapped[bool] = mapped_column(server_default="false")

    queued_at: Mapped[datetime]
    dispatched_at: Mapped[datetime | None]
    dispatch_count: Mapped[int] = mapped_column(server_default="0")
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]

    @property
    def trace_id(self) -> str:
        """The id of its trace, 32 hexadecimal digits."""
        return trace_id_of(self.id, self.traceparent)

    @property
    def kind(self) -> RunKind:
        return RunKind.ASSISTANT if self.structure_id is None else RunKind.STRUCTURE


RUNS: Final = Base.metadata.tables[Run.__tablename__]
"""The table itself, for statements without entities."""

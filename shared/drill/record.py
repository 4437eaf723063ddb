"""What a drill has seen, as plain facts; `checks` judges them."""

from dataclasses import dataclass, field
from typing import Any

from shared.drill.plan import PlannedRun


@dataclass(slots=True)
class Transcript:
    """What one reader of a run was sent."""

    reader: str
    digests: list[bytes] = field(default_factory=list)  # of each frame, in order
    misplaced: list[str] = field(default_factory=list)  # frames whose number was not the next one
    ends: int = 0  # terminal events
    end_status: str | None = None  # what the terminal event says
    after_end: int = 0  # frames after a terminal event
    closed_early: list[float] = field(default_factory=list)  # when the server closed it before the end
    left_open: bool = False  # not closed after the terminal event
    is_done: bool = False


@dataclass(slots=True)
class RunRecord:
    """What was seen of one run."""

    plan: PlannedRun
    run_ids: list[str] = field(default_factory=list)  # one for each time a submission was answered
    submitted_at: float | None = None
    ended_at: float | None = None  # first seen terminal
    ended: list[str] = field(default_factory=list)  # each terminal status seen, whenever one was
    cancel_answer: str | None = None  # the status in the answer
    transcripts: list[Transcript] = field(default_factory=list)
    final: dict[str, Any] | None = None  # the run in the end
    event_count: int | None = None  # in the end
    thread_id: str | None = None

    @property
    def path(self) -> str:
        """Where the API has the run; it must have been accepted."""
        return f"/{self.plan.kind}-runs/{self.run_ids[0]}"

    @property
    def name(self) -> str:
        """The run, for people."""
        return self.run_ids[0] if self.run_ids else f"run {self.plan.number}, not accepted"

    def saw(self, run: dict[str, Any], now: float, *, terminal: bool) -> None:
        """Note the state of the run."""
        self.final = run
        if terminal:
            self.ended.append(run["status"])
            if self.ended_at is None:
                self.ended_at = now


@dataclass(slots=True)
class FaultRecord:
    """One injected fault, in seconds of the drill's clock."""

    name: str
    consists_of: tuple[str, ...]
    hurts_api: bool
    loses_worker: bool
    injected_at: float
    healed_at: float
    whole_at: float | None = None  # when the system was seen whole again
    error: str | None = None  # why it could not be injected


@dataclass(slots=True)
class Answers:
    """What the API answered, counted, and what it should not have."""

    counts: dict[str, int] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)
    unreachable: int = 0

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1


@dataclass(slots=True)
class Facts:
    """All that a drill has seen."""

    runs: list[RunRecord]
    faults: list[FaultRecord] = field(default_factory=list)
    answers: Answers = field(default_factory=Answers)
    has_keys: bool = False  # whether the API knows Idempotency-Key
    listed: dict[int | None, list[str]] | None = None  # statuses of all runs in the end, by planned number
    unended: int | None = None  # runs that the API lists as not ended
    messages: dict[str, int] = field(default_factory=dict)  # in the end, by thread
    settled_in: float | None = None  # seconds from the last fault or submission to the last end
    bound: float = 0.0  # seconds that were given for it
    database: list[str] | None = None  # broken invariants; None if PostgreSQL was not asked
    database_note: str = ""

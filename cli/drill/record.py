"""Facts that a drill observes. `checks` judges them."""

from dataclasses import dataclass, field
from typing import Any

from cli.drill.plan import PlannedRun


@dataclass(slots=True)
class Transcript:
    """The frames that one reader of a run was sent."""

    reader: str
    digests: list[bytes] = field(default_factory=list)  # of each frame, in order
    misplaced: list[str] = field(default_factory=list)  # frames whose number was not the next one
    ends: int = 0  # terminal events
    end_status: str | None = None  # the status in the terminal event
    after_end: int = 0  # frames after a terminal event
    closed_early: list[float] = field(default_factory=list)  # when the server closed it before the end
    left_open: bool = False  # not closed after the terminal event
    is_done: bool = False


@dataclass(slots=True)
class RunRecord:
    """Facts about one run."""

    plan: PlannedRun
    run_ids: list[str] = field(default_factory=list)  # one per answered submission
    submitted_at: float | None = None
    ended_at: float | None = None  # first seen terminal
    ended: list[str] = field(default_factory=list)  # the terminal status of each read
    cancel_answer: str | None = None  # the status in the answer
    transcripts: list[Transcript] = field(default_factory=list)
    final: dict[str, Any] | None = None  # the last state read
    event_count: int | None = None  # in the final read
    thread_id: str | None = None

    @property
    def path(self) -> str:
        """The API path of an accepted run."""
        return f"/{self.plan.kind}-runs/{self.run_ids[0]}"

    @property
    def name(self) -> str:
        """The run's id, or its number if it was not accepted."""
        return self.run_ids[0] if self.run_ids else f"run {self.plan.number}, not accepted"

    def record(self, run: dict[str, Any], now: float, *, terminal: bool) -> None:
        """Record a state of the run."""
        self.final = run
        if terminal:
            self.ended.append(run["status"])
            if self.ended_at is None:
                self.ended_at = now


@dataclass(slots=True)
class FaultRecord:
    """One injected fault. Times are seconds since the start of the drill."""

    name: str
    consists_of: tuple[str, ...]
    hurts_api: bool
    loses_worker: bool
    injected_at: float
    healed_at: float
    whole_at: float | None = None  # the first moment at which the system was whole
    error: str | None = None  # why the injection failed


@dataclass(slots=True)
class Answers:
    """Counts of the API's answers, and its wrong answers."""

    counts: dict[str, int] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)
    unreachable: int = 0

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1


@dataclass(slots=True)
class Facts:
    """All facts of a drill."""

    runs: list[RunRecord]
    faults: list[FaultRecord] = field(default_factory=list)
    answers: Answers = field(default_factory=Answers)
    has_keys: bool = False  # whether the API knows Idempotency-Key
    listed: dict[int | None, list[str]] | None = None  # statuses in the final list, by planned number
    unended: int | None = None  # unfinished runs in the final list
    messages: dict[str, int] = field(default_factory=dict)  # in the final read, by thread
    settled_in: float | None = None  # seconds from the last fault or submission to the last end
    bound: float = 0.0  # seconds allowed for that
    database: list[str] | None = None  # violated invariants; None if PostgreSQL was not read
    database_note: str = ""

"""The promises, judged only by facts observed from outside."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from cli.drill.load import has_complete_receipt
from cli.drill.record import Facts, FaultRecord, RunRecord, Transcript
from cli.listing import counted
from shared.lifecycle import TERMINAL, Reason, RunStatus

API_MARGIN: Final = 3.0  # seconds before and after a fault of the API in which it may close streams
LOST: Final = frozenset({Reason.WORKER_LOST, Reason.TOO_MANY_ATTEMPTS})


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a check."""

    name: str
    promise: str
    examined: int
    violations: Sequence[str]
    note: str = ""

    @property
    def is_kept(self) -> bool:
        return not self.violations


@dataclass(frozen=True, slots=True)
class Check:
    """One promise: the number of its subjects, and the search for violations."""

    promise: str
    subjects: Callable[[Facts], int]
    violations: Callable[[Facts], Iterator[str]]
    note: Callable[[Facts], str] = lambda _: ""


def _accepted(facts: Facts) -> list[RunRecord]:
    return [run for run in facts.runs if run.run_ids]


def _ended(facts: Facts) -> list[RunRecord]:
    return [run for run in _accepted(facts) if run.ended]


def _transcripts(facts: Facts) -> list[tuple[RunRecord, Transcript]]:
    return [(run, transcript) for run in _accepted(facts) for transcript in run.transcripts]


def _not_ended(facts: Facts) -> Iterator[str]:
    for run in facts.runs:
        if not run.run_ids:
            yield f"{run.name} within {facts.bound:.0f} s"
        elif not run.ended:
            status = run.final["status"] if run.final else "not seen again"
            yield f"{run.name} is {status}, {facts.bound:.0f} s after the last fault"
    if facts.listed is None:
        yield "the final list of runs could not be read"
    elif facts.unended:
        yield f"the API lists {counted(facts.unended, 'unfinished run')}"


def _several_ends(facts: Facts) -> Iterator[str]:
    for run in _ended(facts):
        seen = list(dict.fromkeys([*run.ended, *([run.final["status"]] if run.final else [])]))
        told = {transcript.end_status for transcript in run.transcripts if transcript.ends}
        if len(seen) > 1:
            yield f"{run.name} was {', then '.join(seen)}"
        elif told - set(seen):
            yield f"{run.name} is {seen[0]}, its last event says {sorted(map(str, told))}"


def _misplaced(facts: Facts) -> Iterator[str]:
    for run, transcript in _transcripts(facts):
        if transcript.misplaced:
            yield f"{run.name}, {transcript.reader}: event {transcript.misplaced[0]}"


def _wrong_ends(facts: Facts) -> Iterator[str]:
    for run, transcript in _transcripts(facts):
        if transcript.ends > 1 or transcript.after_end:
            yield (
                f"{run.name}, {transcript.reader}: {counted(transcript.ends, 'last event')},"
                f" {counted(transcript.after_end, 'event')} after the first of them"
            )


def _grown(facts: Facts) -> Iterator[str]:
    for run in _ended(facts):
        lengths = {len(transcript.digests) for transcript in run.transcripts if transcript.is_done}
        if run.event_count is None:
            yield f"{run.name}: its events could not be read in the final read"
        elif lengths - {run.event_count}:
            stored = counted(run.event_count, "event")
            yield f"{run.name}: {stored} in the end, readers were sent {sorted(lengths)}"


def _different(facts: Facts) -> Iterator[str]:
    for run in _accepted(facts):
        done = [transcript for transcript in run.transcripts if transcript.is_done]
        for other in done[1:]:
            if other.digests != done[0].digests:
                pairs = enumerate(zip(done[0].digests, other.digests, strict=False))
                first = next((index for index, (here, there) in pairs if here != there), None)
                where = "in length" if first is None else f"at event {first}"
                yield f"{run.name}: {done[0].reader} and {other.reader} differ {where}"
                break


def _unfinished(facts: Facts) -> Iterator[str]:
    windows = [
        (fault.injected_at - API_MARGIN, (fault.whole_at or fault.healed_at) + API_MARGIN)
        for fault in facts.faults
        if fault.hurts_api
    ]
    for run, transcript in _transcripts(facts):
        early = [
            at for at in transcript.closed_early if not any(start <= at <= end for start, end in windows)
        ]
        if run.ended and not transcript.is_done:
            sent = counted(len(transcript.digests), "event")
            yield f"{run.name}, {transcript.reader}: never sent the end, {sent}"
        elif early:
            yield f"{run.name}, {transcript.reader}: closed before the end, at {early[0]:.1f} s"
        elif transcript.left_open:
            yield f"{run.name}, {transcript.reader}: left open after the end"


def _answered_cancelled(facts: Facts) -> list[RunRecord]:
    return [run for run in facts.runs if run.cancel_answer is not None]


def _untrue_cancels(facts: Facts) -> Iterator[str]:
    for run in _answered_cancelled(facts):
        status = run.final["status"] if run.final else "not seen again"
        if run.cancel_answer not in TERMINAL:
            yield f"{run.name}: the cancel was answered {run.cancel_answer}"
        elif status != run.cancel_answer:
            yield f"{run.name}: the cancel was answered {run.cancel_answer}, the run is {status}"
    for run in _ended(facts):
        if run.final and not has_complete_receipt(run.final):
            yield f"{run.name}: cancelled, and {facts.bound:.0f} s later nothing says how its work stopped"
        elif run.final and run.final["status"] == RunStatus.CANCELLED and run.plan.cancel_after is None:
            yield f"{run.name}: CANCELLED, and nobody had asked"


def _refusals(facts: Facts) -> Iterator[str]:
    yield from facts.answers.refusals


def _keyed(facts: Facts) -> list[RunRecord]:
    return [run for run in _accepted(facts) if run.plan.repeats and facts.has_keys]


def _doubled(facts: Facts) -> Iterator[str]:
    for run in _keyed(facts):
        made = (facts.listed or {}).get(run.plan.number, [])
        if len(set(run.run_ids)) > 1:
            yield f"run {run.plan.number}: one key, the runs {', '.join(sorted(set(run.run_ids)))}"
        elif facts.listed is not None and len(made) != 1:
            yield f"{run.name}: one key, {len(made)} runs in the list"


def _lost_messages(facts: Facts) -> Iterator[str]:
    for thread_id, messages in facts.messages.items():
        numbers = {run.plan.number for run in facts.runs if run.thread_id == thread_id}
        statuses = [status for number in numbers for status in (facts.listed or {}).get(number, [])]
        succeeded = statuses.count(RunStatus.SUCCEEDED)
        if facts.listed is not None and messages != succeeded:
            yield f"thread {thread_id}: {counted(succeeded, 'run')} succeeded, {counted(messages, 'message')}"


def _unexplained(facts: Facts) -> Iterator[str]:
    for run in _ended(facts):
        final: dict[str, Any] = run.final or {}
        reason = (final.get("status_detail") or {}).get("reason")
        if final["status"] == RunStatus.FAILED:
            yield f"{run.name}: FAILED, {reason}; what the drill runs does not fail"
        elif final["status"] == RunStatus.ERROR and not (
            reason in LOST and any(_overlaps(fault, run) for fault in facts.faults if fault.loses_worker)
        ):
            life = f"from {run.submitted_at or 0.0:.1f} to {run.ended_at or 0.0:.1f} s"
            yield f"{run.name}: ERROR, {reason}, {life}; no worker was lost meanwhile"


def _overlaps(fault: FaultRecord, run: RunRecord) -> bool:
    return (run.submitted_at or 0.0) <= fault.healed_at and fault.injected_at <= (run.ended_at or 0.0)


def _not_whole(facts: Facts) -> Iterator[str]:
    for fault in facts.faults:
        if fault.error:
            yield f"{fault.name} at {fault.injected_at:.1f} s could not be injected: {fault.error}"
        elif fault.whole_at is None:
            yield f"{fault.name} at {fault.injected_at:.1f} s: not whole again in time"


CHECKS: Final[Mapping[str, Check]] = MappingProxyType(
    {
        "accepted-runs-end": Check(
            "Every accepted run ends, soon after the last fault.", lambda facts: len(facts.runs), _not_ended
        ),
        "one-end": Check(
            "A run has one end, and it is final.", lambda facts: len(_ended(facts)), _several_ends
        ),
        "no-holes": Check(
            "Events are numbered without holes.", lambda facts: len(_transcripts(facts)), _misplaced
        ),
        "one-last-event": Check(
            "There is one terminal event, and it is the last.",
            lambda facts: len(_transcripts(facts)),
            _wrong_ends,
        ),
        "nothing-after-the-end": Check(
            "Nothing is written once a run has ended.", lambda facts: len(_ended(facts)), _grown
        ),
        "same-bytes": Check(
            "All readers of a run are sent the same bytes.",
            lambda facts: len(_transcripts(facts)),
            _different,
        ),
        "streams-end": Check(
            "Every stream leads to the end, and closes there.",
            lambda facts: len(_transcripts(facts)),
            _unfinished,
        ),
        "true-cancels": Check(
            "A cancel is true when answered, and gets its receipt.",
            lambda facts: len(_answered_cancelled(facts)),
            _untrue_cancels,
        ),
        "answers": Check(
            "No answer is an error, but a 503 that says when to ask again.",
            lambda facts: sum(facts.answers.counts.values()),
            _refusals,
        ),
        "one-run-per-key": Check(
            "Submissions with one Idempotency-Key make one run.",
            lambda facts: len(_keyed(facts)),
            _doubled,
            lambda facts: "" if facts.has_keys else "this API does not know Idempotency-Key",
        ),
        "threads": Check(
            "A thread holds one message for each of its runs that succeeded.",
            lambda facts: len(facts.messages),
            _lost_messages,
        ),
        "explained-ends": Check(
            "Only a run whose worker was lost ends in ERROR, and none in FAILED.",
            lambda facts: len(_ended(facts)),
            _unexplained,
        ),
        "recovery": Check(
            "The system is whole again after each fault.", lambda facts: len(facts.faults), _not_whole
        ),
        "database": Check(
            "The rows in PostgreSQL agree with each other.",
            lambda facts: 0 if facts.database is None else len(_accepted(facts)),
            lambda facts: iter(facts.database or ()),
            lambda facts: facts.database_note,
        ),
    }
)
"""All checks by name."""


def judge(facts: Facts) -> list[Verdict]:
    """Apply every check to the facts."""
    return [
        Verdict(name, check.promise, check.subjects(facts), list(check.violations(facts)), check.note(facts))
        for name, check in CHECKS.items()
    ]

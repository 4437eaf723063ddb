"""Invariants of the rows in PostgreSQL.

Each rule is one statement and so sees one snapshot: a running system can be checked. Nothing is locked
and nothing is written.
"""

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from sqlalchemy.orm import Session

from cli.doctor import event_rules, run_rules
from cli.doctor.rule import Rule

LIMIT: Final = 1000
"""Reported violations of one rule."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A violation of a rule. As text it is one line."""

    name: str
    run_id: uuid.UUID | None  # None if it concerns no single run
    message: str

    def __str__(self) -> str:
        return f"{self.name}: {'' if self.run_id is None else f'run {self.run_id} '}{self.message}"


RULES: Final = (
    Rule(
        "events_are_dense",
        event_rules.not_dense(),
        "has {events} events, from {first} to {last}; its event_count is {event_count}",
    ),
    Rule("one_answer", event_rules.not_one_answer(), "is {status} and has {events} final answers"),
    Rule("one_end", event_rules.not_one_end(), "is {status} and has {events} terminal events"),
    Rule(
        "end_is_last",
        event_rules.end_is_not_last(),
        "has its terminal event at {seq}, and {event_count} events",
    ),
    Rule(
        "end_tells_status",
        event_rules.end_tells_otherwise(),
        "is {status}; its terminal event says {told}",
    ),
    Rule(
        "no_end_before_its_time",
        event_rules.end_before_its_time(),
        "is {status} and has a terminal event, at {seq}",
    ),
    Rule("completed_at", run_rules.completed_at_wrong(), "is {status}, completed at {completed_at}"),
    Rule(
        "one_run_per_thread",
        run_rules.not_alone_on_thread(),
        "executes on thread {thread_id}, as {others} more do at once",
    ),
    Rule(
        "message_of_a_success",
        run_rules.message_without_success(),
        "is {status} and has {messages} messages on thread {thread_id}",
    ),
    Rule(
        "tallies_agree",
        run_rules.tally_is_off(),
        "assistant or structure {subject_id} has {counted} runs {status}; the tallies say {tallied}",
    ),
    Rule(
        "tallied_bytes_agree",
        run_rules.tallied_bytes_are_off(),
        "assistant or structure {subject_id} has {counted} bytes in runs {status}; the tallies say {tallied}",
    ),
    Rule(
        "cancel_has_a_receipt",
        run_rules.receipt_incomplete(),
        "is CANCELLED; requested at {requested_at}, stopped at {stopped_at} ({stopped_how})",
    ),
)
"""All rules, each named by what must hold."""


def check(
    session: Session, *, rules: Iterable[Rule] = RULES, on_checked: Callable[[], object] = lambda: None
) -> list[Violation]:
    """Return violations, up to `LIMIT` of each rule.

    Args:
        session: the transaction.
        rules: the rules to check.
        on_checked: called after each rule; over many runs, one takes seconds.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: PostgreSQL failed.
    """
    violations = []
    for rule in rules:
        for row in session.execute(rule.query.limit(LIMIT)).mappings():
            values = {name: "none" if value is None else value for name, value in row.items()}
            violations.append(Violation(rule.name, row["run_id"], rule.message.format_map(values)))
        on_checked()
    return violations

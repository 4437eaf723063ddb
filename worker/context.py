"""From a claimed run to what its executor gets."""

import uuid
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.artifacts import decode_text
from shared.models import Assistant, Run
from shared.rulesets.queries import rules_in_force
from shared.settings import Settings
from shared.threads.queries import page_of_messages
from worker.cancellation import CancelToken
from worker.executors.base import Exchange, Rule, Ruleset, RunContext


@dataclass(frozen=True, slots=True)
class Claimed:
    """What is read of a run once it is claimed."""

    run_id: uuid.UUID
    attempt: int
    assistant_id: uuid.UUID
    assistant_name: str
    input: str | None
    args: tuple[str, ...]
    model: str | None
    stream: bool
    max_duration: timedelta | None  # as the run itself says
    rulesets: tuple[Ruleset, ...]
    history: tuple[Exchange, ...]


def load_claimed(session: Session, run_id: uuid.UUID) -> Claimed:
    """Read what the execution of a run needs."""
    run = session.get_one(Run, run_id)
    name = session.scalars(select(Assistant.name).where(Assistant.id == run.assistant_id)).one()
    return Claimed(
        run_id=run.id,
        attempt=run.attempt,
        assistant_id=run.assistant_id,
        assistant_name=name,
        input=run.input,
        args=tuple(run.args),
        model=run.model,
        stream=run.stream,
        max_duration=run.max_duration,
        rulesets=_rulesets(session, run),
        history=_history(session, run),
    )


def _rulesets(session: Session, run: Run) -> tuple[Ruleset, ...]:
    found = rules_in_force(session, run.ruleset_ids, organization_id=run.organization_id)
    return tuple(
        Ruleset(name, tuple(Rule(rule_name, text) for rule_name, text in rules)) for name, rules in found
    )


def _history(session: Session, run: Run) -> tuple[Exchange, ...]:
    if run.thread_id is None:
        return ()
    messages = page_of_messages(session, run.thread_id).messages
    return tuple(Exchange(decode_text(one.input), decode_text(one.output)) for one in messages)


def build_context(settings: Settings, claimed: Claimed, token: CancelToken) -> RunContext:
    """Make the executor's frozen view of a run; the worker's default model fills in for none."""
    return RunContext(
        run_id=claimed.run_id,
        assistant_id=claimed.assistant_id,
        assistant_name=claimed.assistant_name,
        attempt=claimed.attempt,
        model=claimed.model or settings.model,
        input=claimed.input,
        args=claimed.args,
        stream=claimed.stream,
        rulesets=claimed.rulesets,
        history=claimed.history,
        max_duration=claimed.max_duration or settings.max_duration,
        token=token,
        options={"echo_words_per_second": settings.echo_words_per_second},
    )

"""What the attempts before a run's present one have left in its log: what readers saw, and what it cost."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import BigInteger, Cast, Numeric, cast, func, select
from sqlalchemy.orm import Session

from shared.events.log import is_of, size_of_event
from shared.events.usage import MOST_TOKENS, Usage
from shared.lifecycle import REPEATED_TEXT, EventType, RunKind
from shared.models import Origin, Run, RunEvent

SHOWN_BYTES: Final = 1_048_576
"""Bytes of text chunks that are read again; whoever has shown more shows all of it anew."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """What the attempts before one have left."""

    shown: str  # the text that stands before readers who join all chunks they know
    spent: tuple[tuple[str, Usage], ...]  # by model


NOTHING: Final = Earlier("", ())


def earlier_attempts(session: Session, run: Run) -> Earlier:
    """Read what the attempts before a run's present one have shown and spent."""
    if run.attempt == 1 or run.kind is RunKind.STRUCTURE:  # a program's reports are not compared
        return NOTHING
    return Earlier(_shown(session, run), _spent(session, run))


def _shown(session: Session, run: Run) -> str:
    is_chunk = (
        is_of(run.id, created_at=run.created_at),
        RunEvent.type == EventType.TEXT_CHUNK,
        RunEvent.origin == Origin.ASSISTANT,
    )
    if (session.scalar(select(func.sum(size_of_event())).where(*is_chunk)) or 0) > SHOWN_BYTES:
        return ""
    query = (
        select(
            RunEvent.attempt,
            RunEvent.payload["type"].astext.label("called"),
            func.coalesce(RunEvent.payload["token"].astext, "").label("token"),
        )
        .where(*is_chunk)
        .order_by(RunEvent.seq)
    )
    shown: tuple[list[str], int] = ([], 0)  # chunks of an attempt, and how many of them
    said: list[str] = []
    attempt = None
    for row in session.execute(query):
        if row.attempt != attempt:
            said, attempt = [], row.attempt
        said.append(row.token)
        if row.called != REPEATED_TEXT:
            shown = said, len(said)
    chunks, count = shown
    return "".join(chunks[:count])


def _spent(session: Session, run: Run) -> tuple[tuple[str, Usage], ...]:
    model = func.coalesce(RunEvent.payload["model"].astext, "None").label("model")

    def tokens(name: str) -> Cast[int]:
        count = RunEvent.payload[name]
        bounded = func.least(func.greatest(cast(count.astext, Numeric), 0), MOST_TOKENS)  # as `tokens_of`
        counts = func.sum(bounded).filter(func.jsonb_typeof(count) == "number")
        return cast(func.coalesce(counts, 0), BigInteger)

    query = (
        select(model, func.count(), tokens("input_token_count"), tokens("output_token_count"))
        .where(
            is_of(run.id, created_at=run.created_at),
            RunEvent.type == EventType.FINISH_PROMPT,
            RunEvent.origin == Origin.ASSISTANT,
        )
        .group_by(model)
        .order_by(model)
    )
    return tuple((model, Usage(*counts)) for model, *counts in session.execute(query))

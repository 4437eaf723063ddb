"""What the attempts before a run's present one have left in its log: what readers saw, and what it cost."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import BigInteger, Cast, Numeric, cast, func, select
from sqlalchemy.orm import Session

from shared.events.log import size_of_event
from shared.models import FINISH_PROMPT, REPEATED_TEXT, TEXT_CHUNK, Origin, Run, RunEvent
from shared.runs.lifecycle import RunKind

SHOWN_BYTES: Final = 1_048_576
"""Bytes of text chunks that are read again; whoever has shown more shows all of it anew."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What calls of one model have used."""

    model: str
    calls: int
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Earlier:
    """What was before an attempt."""

    shown: str  # the text that stands before readers who join all chunks they know
    spent: tuple[Spent, ...]
    has_lines: bool = False  # of output, which a program has written


NOTHING: Final = Earlier("", ())


def earlier_attempts(session: Session, run: Run) -> Earlier:
    """Read what the attempts before a run's present one have shown and spent."""
    if run.attempt == 1:
        return NOTHING
    if run.kind is RunKind.STRUCTURE:  # what its program reports is not ours to compare
        return Earlier("", (), has_lines=run.log_count > 0)
    return Earlier(_shown(session, run), _spent(session, run))


def _shown(session: Session, run: Run) -> str:
    is_chunk = (RunEvent.run_id == run.id, RunEvent.type == TEXT_CHUNK, RunEvent.origin == Origin.ASSISTANT)
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


def _spent(session: Session, run: Run) -> tuple[Spent, ...]:
    model = func.coalesce(RunEvent.payload["model"].astext, "None").label("model")

    def tokens(name: str) -> Cast[int]:
        count = RunEvent.payload[name]
        counts = func.sum(cast(count.astext, Numeric)).filter(func.jsonb_typeof(count) == "number")
        return cast(func.coalesce(counts, 0), BigInteger)

    query = (
        select(model, func.count(), tokens("input_token_count"), tokens("output_token_count"))
        .where(RunEvent.run_id == run.id, RunEvent.type == FINISH_PROMPT, RunEvent.origin == Origin.ASSISTANT)
        .group_by(model)
        .order_by(model)
    )
    return tuple(Spent(*row) for row in session.execute(query))

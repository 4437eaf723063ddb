"""Named reads of threads and messages."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Text, cast, exists, func, or_, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from shared.db import Lock
from shared.errors import MessageNotFoundError, ThreadNotFoundError
from shared.models import Message, Run, Thread
from shared.rows.paging import WHOLE, Page, Part, newest_first, paginate
from shared.rows.single import get_owned


@dataclass(frozen=True, slots=True)
class ThreadFilter:
    """A filter of threads; None matches all."""

    alias: str | None = None  # exact; the empty string is nobody's alias
    starts_with: str | None = None  # of the name or of the alias
    created_by: str | None = None  # a user's id; what is none is nobody's
    agent_id: uuid.UUID | None = None  # an assistant: the thread was made for it, or its runs are on it
    metadata: Mapping[str, str] = field(default_factory=dict)  # all of it

    def conditions(self) -> list[ColumnElement[bool]]:
        """The conditions on the thread itself; by its metadata a list is read."""
        conditions: list[ColumnElement[bool]] = []
        if self.alias is not None:
            conditions.append(Thread.alias == self.alias)
        if self.starts_with is not None:
            prefix = self.starts_with
            conditions.append(
                or_(
                    Thread.name.startswith(prefix, autoescape=True),
                    Thread.alias.startswith(prefix, autoescape=True),
                )
            )
        if self.created_by is not None:
            conditions.append(cast(Thread.created_by, Text) == self.created_by.lower())
        if self.agent_id is not None:
            on_it = exists().where(Run.thread_id == Thread.id, Run.assistant_id == self.agent_id)
            conditions.append(or_(Thread.meta["agent_id"].astext == str(self.agent_id), on_it))
        return conditions


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a thread."""

    message_count: int = 0  # exchanges
    messages_length: int = 0  # characters of their inputs and outputs


def get_thread(
    session: Session, thread_id: uuid.UUID, *, organization_id: uuid.UUID, lock: Lock | None = None
) -> Thread:
    """Return a thread of an organization.

    Args:
        lock: hold its row until the transaction ends.

    Raises:
        ThreadNotFoundError: there is none, or it is another organization's.
    """
    owned = Thread.organization_id == organization_id
    return get_owned(session, Thread, thread_id, owned, missing=ThreadNotFoundError, lock=lock)


def page(
    session: Session,
    wanted: ThreadFilter,
    *,
    organization_id: uuid.UUID,
    part: Part,
    is_light: bool = False,
) -> Page[Thread]:
    """Return an organization's threads, newest first.

    Args:
        is_light: leave large values unloaded.
    """
    conditions = [Thread.organization_id == organization_id, *wanted.conditions()]
    return newest_first(session, Thread, conditions, part, metadata=wanted.metadata, is_light=is_light)


def sizes(session: Session, thread_ids: Sequence[uuid.UUID]) -> Mapping[uuid.UUID, Size]:
    """Return the size of each thread that has messages."""
    length = func.length(Message.input) + func.length(Message.output)
    query = (
        select(Message.thread_id, func.count(), func.coalesce(func.sum(length), 0))
        .where(Message.thread_id.in_(thread_ids))
        .group_by(Message.thread_id)
    )
    return {thread_id: Size(count, int(total)) for thread_id, count, total in session.execute(query)}


def first_assistants(session: Session, thread_ids: Sequence[uuid.UUID]) -> Mapping[uuid.UUID, uuid.UUID]:
    """Return the assistant of the first run on each thread that an assistant's run is on."""
    query = (
        select(Run.thread_id, Run.assistant_id)
        .where(Run.thread_id.in_(thread_ids), Run.assistant_id.is_not(None))
        .ext(distinct_on(Run.thread_id))
        .order_by(Run.thread_id, Run.created_at, Run.id)
    )
    firsts = session.execute(query)
    return {thread_id: assistant_id for thread_id, assistant_id in firsts if thread_id and assistant_id}


def page_of_messages(
    session: Session, thread_id: uuid.UUID, *, part: Part = WHOLE, is_light: bool = False
) -> Page[Message]:
    """Return a thread's messages, oldest first.

    Args:
        is_light: leave large values unloaded.
    """
    query = select(Message).where(Message.thread_id == thread_id).order_by(Message.index)
    return paginate(session, query, part, is_light=is_light)


@dataclass(frozen=True, slots=True)
class RecentExchanges:
    """The end of a thread."""

    exchanges: Sequence[tuple[str, str]]  # the stored inputs and outputs, oldest first
    left_out: int  # messages before them


def recent_exchanges(
    session: Session, thread_id: uuid.UUID, *, max_messages: int, max_bytes: int
) -> RecentExchanges:
    """Return the newest messages of a thread that fit together; what is before them is not read.

    Args:
        max_messages: how many at the most.
        max_bytes: of all their inputs and outputs, as they are stored.
    """
    total = (
        session.scalar(select(func.count()).select_from(Message).where(Message.thread_id == thread_id)) or 0
    )
    size = func.octet_length(Message.input) + func.octet_length(Message.output)  # told without reading them
    newest = (
        select(Message.id, Message.index, size.label("size"))
        .where(Message.thread_id == thread_id)
        .order_by(Message.index.desc())
        .limit(max_messages)
        .subquery()
    )
    reached = func.sum(newest.c.size).over(order_by=newest.c.index.desc())
    counted = select(newest.c.id, reached.label("reached")).subquery()
    fitting = (
        select(Message.input, Message.output)
        .join(counted, counted.c.id == Message.id)
        .where(counted.c.reached <= max_bytes)
        .order_by(Message.index)
    )
    exchanges = [(row.input, row.output) for row in session.execute(fitting)]
    return RecentExchanges(exchanges, max(0, total - len(exchanges)))


def get_message(
    session: Session, message_id: uuid.UUID, *, organization_id: uuid.UUID, lock: Lock | None = None
) -> Message:
    """Return a message of an organization's threads.

    Args:
        lock: hold its row until the transaction ends.

    Raises:
        MessageNotFoundError: there is none, or it is another organization's.
    """
    of_organization = select(Thread.id).where(Thread.organization_id == organization_id)
    owned = Message.thread_id.in_(of_organization)
    return get_owned(session, Message, message_id, owned, missing=MessageNotFoundError, lock=lock)

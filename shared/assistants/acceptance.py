"""Accept runs of assistants many at a time, where nothing but the assistant has to be looked at."""

import uuid
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import orjson
from sqlalchemy import Text, literal_column, select
from sqlalchemy.orm import Session

from shared.assistants.runs import RunRequest, check_terms, new_run
from shared.dispatch.dispatcher import Dispatcher
from shared.dispatch.shares import owners_of
from shared.errors import InvalidRequestError
from shared.events.log import StoredEvent
from shared.keys.principal import Principal
from shared.lifecycle import RunKind
from shared.models import Assistant, Run
from shared.runs import acceptance
from shared.runs.measures import measure_accepted
from shared.terms import Terms

MAX_KNOWN: Final = 512  # assistants
MAX_KNOWN_BYTES: Final = 16_384
"""Bytes of one known assistant. A larger one is not kept."""

_VERSION: Final = literal_column("assistants.xmin::text", Text)


@dataclass(frozen=True, slots=True)
class Offer:
    """A run that a caller asks for: without a thread, and without resources of its own."""

    principal: Principal
    assistant_id: uuid.UUID
    request: RunRequest
    terms: Terms  # of the operator

    @classmethod
    def is_possible(cls, request: RunRequest) -> bool:
        """Whether a request can be accepted together with others."""
        return not (request.thread_id or request.new_thread or request.replace or request.add)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A run that is stored, and the first event of its log."""

    run: Run
    event: StoredEvent


class KnownAssistants:
    """Assistants as they were when last read, with the versions of their rows; a few megabytes at most.

    They may be out of date: the statement that inserts a run checks the version. One thread at a time.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[uuid.UUID, tuple[Assistant, str]] = OrderedDict()

    def learn(self, session: Session, identifiers: Collection[uuid.UUID]) -> None:
        """Read the assistants that are not known yet, unless they are large."""
        if missing := [identifier for identifier in identifiers if identifier not in self._known]:
            query = select(Assistant, _VERSION).where(Assistant.id.in_(missing))
            for assistant, version in session.execute(query.order_by(Assistant.id)):
                session.expunge(assistant)
                if len(orjson.dumps([assistant.input, assistant.description])) <= MAX_KNOWN_BYTES:
                    self._known[assistant.id] = assistant, version
        for identifier in identifiers:
            if identifier in self._known:
                self._known.move_to_end(identifier)
        while len(self._known) > max(MAX_KNOWN, len(identifiers)):
            self._known.popitem(last=False)

    def find(self, assistant_id: uuid.UUID, *, organization_id: uuid.UUID) -> tuple[Assistant, str] | None:
        """Return an assistant of an organization and its version, if it is known."""
        found = self._known.get(assistant_id)
        return found if found is not None and found[0].organization_id == organization_id else None

    def forget(self, identifiers: Iterable[uuid.UUID]) -> None:
        """Read some assistants anew before their next run."""
        for identifier in identifiers:
            self._known.pop(identifier, None)


def accept(
    session: Session, dispatcher: Dispatcher, offers: Sequence[Offer], *, known: KnownAssistants
) -> list[Accepted | None]:
    """Accept runs that are durable once this transaction commits, and send them after it.

    Returns:
        For each offer, in order, its run; None where `submit` has to find out: the assistant is not there,
        has just changed, or is being deleted, or the terms refuse something. Nothing is stored then.
    """
    known.learn(session, {offer.assistant_id for offer in offers})
    made = [_candidate_of(offer, known) for offer in offers]
    candidates = [one for one in made if one is not None]
    if not candidates:
        return [None] * len(offers)
    waits_for_share = dispatcher.share is not None
    events = acceptance.insert(session, candidates, waits_for_share=waits_for_share)
    accepted = {event.run_id: event for event in events}
    known.forget(
        offer.assistant_id
        for offer, one in zip(offers, made, strict=True)
        if one is None or one.run.id not in accepted
    )
    measure_accepted(session, RunKind.ASSISTANT, len(events))
    if waits_for_share:
        for organization_id in dict.fromkeys(
            one.run.organization_id for one in candidates if one.run.id in accepted
        ):
            dispatcher.enqueue_next(session, organization_id)
    else:
        runs = {one.run.id: one.run for one in candidates}
        for event in events:
            owners = owners_of(runs[event.run_id])
            dispatcher.enqueue(session, event.run_id, attempt=1, owners=owners)
    for event in events:  # after the tasks: hardly anybody can listen yet
        dispatcher.announce(session, [event])
    return [
        None if one is None or one.run.id not in accepted else Accepted(one.run, accepted[one.run.id])
        for one in made
    ]


def _candidate_of(offer: Offer, known: KnownAssistants) -> acceptance.Candidate | None:
    found = known.find(offer.assistant_id, organization_id=offer.principal.organization_id)
    if found is None:
        return None
    assistant, version = found
    try:
        check_terms(offer.principal, assistant, offer.request, offer.terms)
    except InvalidRequestError:
        return None
    run = new_run(offer.principal, assistant, offer.request, terms=offer.terms)
    return acceptance.Candidate(run, assistant.name, version)

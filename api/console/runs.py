"""The list of runs, and actions on many of them."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from fastapi import APIRouter, Request, Response
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.datastructures import QueryParams

from api.console.actions import AGAIN, CANCEL, Actions, BulkDep
from api.console.pages import is_part, page
from api.console.parts import shared_part
from api.console.route import ConsoleRoute, Form, FormDep, text_of
from api.console.run_queries import RunQuery, cursor_of
from api.console.strip import strip_of
from api.dependencies import PrincipalDep, ReaderDep, SessionDep
from api.errors import of_database
from api.key_scopes import takes
from shared.assistants import queries as assistants
from shared.db import is_passing, unit_of_work
from shared.errors import InvalidRequestError, NotFoundError, RunyardError
from shared.keys.principal import Principal
from shared.lifecycle import ACTIVE, Reason, RunKind, RunStatus
from shared.models import KeyScope
from shared.runs import lists
from shared.runs.summaries import RunSummary, summaries
from shared.structures import queries as structures

router = APIRouter(route_class=ConsoleRoute, prefix="/runs")

BATCH: Final = 50  # runs that one request of a bulk action works on
MOST_COUNTED: Final = 10_000
MOST_SUBJECTS: Final = 200  # assistants that the filter offers


@router.get("")
async def list_runs(request: Request, read: ReaderDep, principal: PrincipalDep) -> Response:
    """List runs, newest first."""
    return await shared_part(request, principal, read, lambda session: _list(request, session, principal))


def _list(request: Request, session: Session, principal: Principal) -> Response:
    query = RunQuery.of(request.query_params)
    rows: Sequence[RunSummary] = ()
    following = ""
    if not query.faults:
        listed = query.listed(principal.organization_id)
        found = lists.positions(session, listed, query.part(), query.wanted)
        ids = [run.id for run in found.rows]
        rows = summaries(session, ids, organization_id=principal.organization_id)
        following = query.query(at=cursor_of(found.rows)) if found.has_more else ""
    settings = request.app.state.settings
    return page(
        request,
        "runs.html",
        query=query,
        rows=rows,
        following=following,
        strip=strip_of(session, settings, principal.organization_id),
        subjects=[] if is_part(request) else _subjects(session, principal, query.kind),
        statuses=list(RunStatus),
        reasons=sorted(Reason),
        active=ACTIVE,
    )


def _subjects(session: Session, principal: Principal, kind: RunKind) -> list[tuple[str, str]]:
    """The assistants or structures that the filter offers."""
    if kind is RunKind.ASSISTANT:
        found = assistants.names(session, organization_id=principal.organization_id, limit=MOST_SUBJECTS)
    else:
        found = structures.names(session, organization_id=principal.organization_id)[:MOST_SUBJECTS]
    return [(str(identifier), name) for identifier, name in found]


@router.post("/bulk")
@takes(KeyScope.RUN)
def ask_bulk(request: Request, session: SessionDep, principal: PrincipalDep, form: FormDep) -> Response:
    """Say how many runs an action is about to reach, and ask."""
    action = _action(form)
    filter_ = text_of(form, "filter")
    query = RunQuery.of(QueryParams(filter_))
    _refuse_faults(query)
    if text_of(form, "which") == "all":
        until = datetime.now(UTC)
        count = _count(session, principal, _narrowed(query, action).before(until))
        chosen: list[str] = []
    else:
        chosen = [text for text in form.get("run", []) if _is_uuid(text)]
        until, count = datetime.now(UTC), len(chosen)
    return page(
        request,
        "bulk.html",
        step="ask",
        action=action,
        count=count,
        has_more=count >= MOST_COUNTED,
        all="1" if text_of(form, "which") == "all" else "",
        chosen=",".join(chosen),
        filter=filter_,
        until=until.isoformat(),
    )


@router.post("/bulk/next")
@takes(KeyScope.RUN)
def do_bulk(request: Request, principal: PrincipalDep, actions: BulkDep, form: FormDep) -> Response:
    """Do the next part of an action on many runs, and say how far it is.

    Each run has a transaction of its own. If one meets an outage, or others in its way, those before it are
    done: the page says so, and goes on with that run when it is told to.
    """
    action = _action(form)
    done, failed = (_number(form, name) for name in ("done", "failed"))
    said = text_of(form, "said")
    query = RunQuery.of(QueryParams(text_of(form, "filter")))
    _refuse_faults(query)
    position = text_of(form, "position")
    # A part that is asked for again, as its answer was lost, repeats no run.
    nonce = text_of(form, "until")[:40]
    if text_of(form, "all") == "1":
        batch = _next_matching(actions, principal, query, form, position)
    else:
        batch = _next_chosen(form)
    step = "going" if batch and batch[-1][1] else "over"
    for run_id, following in batch:
        try:
            _act(actions, principal, action, run_id, query.kind, once=f"console {nonce} {run_id}")
            done += 1
        except NotFoundError:
            failed += 1
        except RunyardError as refusal:
            failed += 1
            said = refusal.message
        except SQLAlchemyError as error:
            if not is_passing(error):
                raise
            step, said = "halted", of_database(error).faults[0].message
            break
        position = following
    return page(
        request,
        "bulk.html",
        step=step,
        action=action,
        count=_number(form, "count"),
        all="1" if text_of(form, "all") == "1" else "",
        done=done,
        failed=failed,
        said=said[:300],
        position=position,
        chosen=text_of(form, "chosen"),
        filter=text_of(form, "filter"),
        until=text_of(form, "until"),
        has_more=False,
    )


def _act(
    actions: Actions, principal: Principal, action: str, run_id: uuid.UUID, kind: RunKind, *, once: str
) -> None:
    if action == CANCEL:
        actions.cancel(principal, run_id, kind)
    else:
        actions.run_again(principal, run_id, kind, once=once)


def _next_chosen(form: Form) -> list[tuple[uuid.UUID, str]]:
    """The next of the chosen runs, as `_next_matching`."""
    chosen = [uuid.UUID(text) for text in text_of(form, "chosen").split(",") if _is_uuid(text)]
    start = _number(form, "position")
    batch = [(run_id, str(start + number)) for number, run_id in enumerate(chosen[start:], 1)][:BATCH]
    if start + BATCH >= len(chosen) and batch:
        batch[-1] = (batch[-1][0], "")
    return batch


def _next_matching(
    actions: Actions, principal: Principal, query: RunQuery, form: Form, position: str
) -> list[tuple[uuid.UUID, str]]:
    """The next runs that match, each with the position after it; an empty text after the last of all."""
    try:
        until = datetime.fromisoformat(text_of(form, "until"))
    except ValueError as error:
        raise InvalidRequestError("Begin again from the list of runs.") from error
    if until.tzinfo is None:
        raise InvalidRequestError("Begin again from the list of runs.")
    walked = _narrowed(RunQuery.of(QueryParams([*query.pairs(at=position)])), text_of(form, "action"))
    walked = walked.before(until)
    _refuse_faults(walked)
    with unit_of_work(actions.sessions) as session:
        listed = walked.listed(principal.organization_id)
        found = lists.positions(session, listed, walked.part(BATCH), walked.wanted)
        batch = [(run.id, cursor_of([run])) for run in found.rows]
        if batch and not found.has_more:
            batch[-1] = (batch[-1][0], "")
        return batch


def _count(session: Session, principal: Principal, query: RunQuery) -> int:
    _refuse_faults(query)
    return lists.count(session, query.listed(principal.organization_id), query.wanted, most=MOST_COUNTED)


def _narrowed(query: RunQuery, action: str) -> RunQuery:
    """The runs that an action can reach: only those that have not ended can be cancelled."""
    return query if action != CANCEL else query.active()


def _refuse_faults(query: RunQuery) -> None:
    if query.faults:
        raise InvalidRequestError(" ".join(query.faults))


def _action(form: Form) -> str:
    action = text_of(form, "action")
    if action not in {CANCEL, AGAIN}:
        raise InvalidRequestError("This is no action on runs.")
    return action


def _number(form: Form, name: str) -> int:
    text = text_of(form, name)[:9]
    return int(text) if text.isascii() and text.isdecimal() else 0


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True

"""Threads: their messages and their runs."""

from typing import Final

from fastapi import APIRouter, Request, Response

from api.console.pages import page
from api.console.route import ConsoleRoute, to
from api.console.run_queries import PAGE, cursor_of, noted_in, position_of
from api.console.text import parts_of, short
from api.dependencies import DispatcherDep, PrincipalDep, SessionDep
from api.key_scopes import takes
from api.requests.path_ids import ThreadId
from shared.artifacts import decode_text
from shared.models import KeyScope, Thread
from shared.rows.paging import Part
from shared.rows.sizes import load_columns
from shared.runs import lists
from shared.runs.lists import RunFilter
from shared.runs.summaries import summaries
from shared.threads import queries, service
from shared.threads.queries import ThreadFilter

router = APIRouter(route_class=ConsoleRoute, prefix="/threads")

MOST_MESSAGES: Final = 100  # the last ones of a thread
MOST_BYTES: Final = 1_048_576  # of them
LONGEST: Final = 20_000  # characters of one side of a message
LONGEST_METADATA: Final = 2_000  # characters
RECENT: Final = 20  # runs


@router.get("")
def list_threads(
    request: Request, session: SessionDep, principal: PrincipalDep, at: str = "", metadata: str = ""
) -> Response:
    """List threads, newest first."""
    faults: list[str] = []
    found = queries.page(
        session,
        ThreadFilter(metadata=noted_in(metadata, faults)),
        organization_id=principal.organization_id,
        part=Part(limit=PAGE, after=position_of(at), is_walk=True),
        is_light=True,
    )
    ids = [] if faults else [thread.id for thread in found.rows]
    return page(
        request,
        "threads.html",
        rows=load_columns(session, Thread, ids, "name", "alias", "created_at"),
        sizes=queries.sizes(session, ids),
        following=cursor_of(found.rows) if found.has_more and not faults else "",
        metadata=metadata,
        faults=faults,
    )


@router.get("/{thread_id}")
def show_thread(
    request: Request, session: SessionDep, principal: PrincipalDep, thread_id: ThreadId
) -> Response:
    """Show the last messages of a thread, and its last runs."""
    thread = queries.get_thread(session, thread_id, organization_id=principal.organization_id)
    recent = queries.recent_exchanges(session, thread.id, max_messages=MOST_MESSAGES, max_bytes=MOST_BYTES)
    runs = lists.page(
        session,
        lists.RunList(principal.organization_id),
        Part(limit=RECENT, is_walk=True),
        RunFilter(thread_id=thread.id),
        is_light=True,
    )
    run_ids = [run.id for run in runs.rows]
    return page(
        request,
        "thread.html",
        thread=thread,
        metadata=parts_of(thread.meta, LONGEST_METADATA) if thread.meta else "",
        exchanges=[
            (short(decode_text(said), LONGEST), short(decode_text(answer), LONGEST))
            for said, answer in recent.exchanges
        ],
        left_out=recent.left_out,
        rows=summaries(session, run_ids, organization_id=principal.organization_id),
    )


@router.post("/{thread_id}/delete")
@takes(KeyScope.RUN)
def delete_thread(
    session: SessionDep, principal: PrincipalDep, dispatcher: DispatcherDep, thread_id: ThreadId
) -> Response:
    """Delete a thread and its messages; its runs stay."""
    service.delete(session, dispatcher, principal, thread_id)
    return to("/threads")

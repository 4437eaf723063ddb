"""Assistants: list, create, edit, and try in a chat."""

import uuid
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from api.console.actions import SubmitsDep
from api.console.pages import page
from api.console.route import ConsoleRoute, Form, FormDep, text_of, to
from api.console.run_queries import PAGE, RunQuery, cursor_of, noted_in, position_of
from api.console.text import editable
from api.dependencies import PrincipalDep, QuotasDep, SessionDep, TermsDep
from api.key_scopes import takes
from api.requests import metadata as notes
from api.requests.path_ids import AssistantId
from shared.assistants import queries, service
from shared.assistants.runs import RunRequest
from shared.errors import InvalidRequestError
from shared.models import Assistant, KeyScope
from shared.organizations.quotas import Resource
from shared.rows.paging import Part
from shared.rows.sizes import load_columns
from shared.runs import lists
from shared.runs.summaries import summaries

router = APIRouter(route_class=ConsoleRoute, prefix="/assistants")

RECENT: Final = 10  # runs on an assistant's page
LONGEST: Final = {"name": 200, "description": 200, "model": 200}
FIELDS: Final = (*LONGEST, "input")


@router.get("")
def list_assistants(
    request: Request, session: SessionDep, principal: PrincipalDep, at: str = "", metadata: str = ""
) -> Response:
    """List assistants, newest first."""
    faults: list[str] = []
    found = queries.page(
        session,
        organization_id=principal.organization_id,
        metadata=noted_in(metadata, faults),
        part=Part(limit=PAGE, after=position_of(at), is_walk=True),
        is_light=True,
    )
    ids = [] if faults else [assistant.id for assistant in found.rows]
    return page(
        request,
        "assistants.html",
        rows=load_columns(session, Assistant, ids, "name", "description", "model", "created_at"),
        following=cursor_of(found.rows) if found.has_more and not faults else "",
        metadata=metadata,
        faults=faults,
    )


@router.post("")
@takes(KeyScope.ADMIN)
def create_assistant(
    session: SessionDep, principal: PrincipalDep, quotas: QuotasDep, terms: TermsDep, form: FormDep
) -> Response:
    """Create an assistant."""
    quotas.require_room_for(session, Resource.ASSISTANT, principal.organization_id)
    fields = _fields(form)
    if "name" not in fields:
        raise InvalidRequestError("An assistant has a name.")
    made = service.create(session, principal, fields, terms=terms)
    return to(f"/assistants/{made.id}")


@router.get("/{assistant_id}")
def show_assistant(
    request: Request, session: SessionDep, principal: PrincipalDep, assistant_id: AssistantId
) -> Response:
    """Show an assistant, its last runs, and a chat to try it."""
    assistant = queries.get_assistant(session, assistant_id, organization_id=principal.organization_id)
    listed = lists.RunList(principal.organization_id, subject_id=assistant.id)
    recent = lists.positions(session, listed, Part(limit=RECENT, is_walk=True))
    ids = [run.id for run in recent.rows]
    return page(
        request,
        "assistant.html",
        assistant=assistant,
        metadata=editable(assistant.meta),
        rows=summaries(session, ids, organization_id=principal.organization_id),
        runs=RunQuery(subject=str(assistant.id)).query(),
    )


@router.post("/{assistant_id}")
@takes(KeyScope.ADMIN)
def change_assistant(
    session: SessionDep, principal: PrincipalDep, terms: TermsDep, form: FormDep, assistant_id: AssistantId
) -> Response:
    """Change an assistant."""
    service.change(session, principal, assistant_id, _fields(form), terms=terms)
    return to(f"/assistants/{assistant_id}")


@router.post("/{assistant_id}/delete")
@takes(KeyScope.ADMIN)
def delete_assistant(session: SessionDep, principal: PrincipalDep, assistant_id: AssistantId) -> Response:
    """Delete an assistant; its runs stay."""
    service.delete(session, principal, assistant_id)
    return to("/assistants")


@router.post("/{assistant_id}/say")
@takes(KeyScope.RUN)
def say(
    request: Request, actions: SubmitsDep, principal: PrincipalDep, form: FormDep, assistant_id: AssistantId
) -> Response:
    """Say something to an assistant on a thread of its own; the answer streams."""
    said = text_of(form, "said")
    if not said.strip():
        raise InvalidRequestError("Say something.")
    thread = text_of(form, "thread")
    try:
        thread_id = uuid.UUID(thread) if thread else None
    except ValueError as error:
        raise InvalidRequestError("There is no such thread.") from error
    wanted = RunRequest(input=said, stream=True, thread_id=thread_id, new_thread=thread_id is None)
    run = actions.submit(principal, assistant_id, wanted)
    return page(request, "said.html", said=said, run_id=run.id, thread_id=run.thread_id)


def _fields(form: Form) -> dict[str, Any]:
    """The fields of an assistant that a form has; an empty model or input is none.

    A form lacks what it could not give back as it was.
    """
    fields: dict[str, Any] = {name: text_of(form, name) for name in FIELDS if name in form}
    for name in LONGEST.keys() & fields.keys():
        if len(fields[name]) > LONGEST[name]:
            raise InvalidRequestError(f"The {name} has {LONGEST[name]} characters at the most.")
    if not fields.get("name", "unchanged").strip():
        raise InvalidRequestError("An assistant has a name.")
    model = fields.get("model", "").strip()
    provider, _, name = model.partition("/")
    if model and model != "echo" and not (provider.strip() and name.strip() and model.isprintable()):
        raise InvalidRequestError("A model is `echo` or `provider/model`, such as `openai/gpt-5`.")
    if "model" in fields:
        fields["model"] = model or None
    if "input" in fields:
        fields["input"] = fields["input"] or None
    if notes.NAME in form:
        fields["meta"] = dict(notes.in_query([(notes.NAME, text_of(form, notes.NAME).strip())]))
    return fields

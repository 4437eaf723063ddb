"""Webhooks of structures: a run for each call of an address that holds the key."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from api.auth import query_key
from api.dependencies import DispatcherDep, PrincipalDep, SessionDep
from api.errors import BAD_REQUEST, CONFLICT, FORBIDDEN, NOT_FOUND
from api.griptape.errors import documented
from api.griptape.structure_runs import RulesDep
from api.griptape.structure_schemas import StructureView
from api.griptape.variables import check_stored
from api.idempotency import OnceDep
from api.key_scopes import takes
from api.requests.path_ids import StructureId
from api.routing import WebhookRoute
from shared.errors import InvalidRequestError
from shared.lifecycle import RunKind
from shared.models import KeyScope, Run, Structure
from shared.runs.queries import get_run
from shared.structures import runs
from shared.structures.queries import get_structure

router = APIRouter(
    prefix="/structures/{structure_id}/webhook",
    tags=["Structures"],
    route_class=WebhookRoute,
    dependencies=[Depends(query_key)],
)

_ERRORS = documented(BAD_REQUEST, FORBIDDEN, NOT_FOUND, CONFLICT)


async def _args(request: Request) -> list[str]:
    """The body as it came, whatever it is: the first argument, if there is one."""
    body = await request.body()
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequestError("The body is not text in UTF-8.", path=("body",)) from error
    if "\x00" in text:
        raise InvalidRequestError("NUL characters cannot be stored.", path=("body",))
    return [text] if text else []


@router.get("", operation_id="InvokeStructureWebhookGet", response_model=StructureView, responses=_ERRORS)
@router.post("", operation_id="InvokeStructureWebhookPost", response_model=StructureView, responses=_ERRORS)
@takes(KeyScope.RUN)
def invoke_structure_webhook(
    session: SessionDep,
    principal: PrincipalDep,
    dispatcher: DispatcherDep,
    *,
    once: OnceDep,
    rules: RulesDep,
    structure_id: StructureId,
    args: Annotated[list[str], Depends(_args)],
) -> Structure:
    """Run a structure by its webhook. The body is the argument; the answer is the structure."""

    def submit() -> Run:
        rules.quotas.require_room_for_run(session, principal.organization_id)
        structure = get_structure(session, structure_id, organization_id=principal.organization_id)
        check_stored(rules.variables, structure.env_vars)
        return runs.submit_by_webhook(session, dispatcher, principal, structure_id, args, terms=rules.terms)

    once(
        submit,
        lambda made: get_run(
            session, made, organization_id=principal.organization_id, kind=RunKind.STRUCTURE
        ),
    )
    return get_structure(session, structure_id, organization_id=principal.organization_id)

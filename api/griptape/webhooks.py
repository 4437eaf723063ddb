"""Webhooks of structures: a run for each call of an address that holds the key (contract: griptape §9)."""

import uuid
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Request

from api.auth import query_key
from api.dependencies import DispatcherDep, PrincipalDep, SessionDep
from api.griptape.errors import documented
from api.griptape.structure_runs import RulesDep
from api.griptape.structure_schemas import StructureView
from api.griptape.variables import check_stored
from api.idempotency import OnceDep
from api.path_ids import StructureId
from api.routing import WebhookRoute
from shared.errors import InvalidRequestError
from shared.models import Run, Structure
from shared.runs.lifecycle import RunKind
from shared.runs.queries import get_run
from shared.structures import runs
from shared.structures.queries import get_structure

router = APIRouter(
    prefix="/structures/{structure_id}/webhook",
    tags=["Structures"],
    route_class=WebhookRoute,
    dependencies=[Depends(query_key)],
)

_ERRORS = documented(HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)


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
    """Run a structure whose webhook is enabled, with the body as its argument; it is what is answered."""

    def find(made: uuid.UUID) -> Run:
        return get_run(session, made, organization_id=principal.organization_id, kind=RunKind.STRUCTURE)

    def submit() -> Run:
        rules.quotas.require_room_for_run(session, principal.organization_id)
        structure = get_structure(session, structure_id, organization_id=principal.organization_id)
        check_stored(rules.variables, structure.env_vars)
        return runs.submit_by_webhook(session, dispatcher, principal, structure_id, args, terms=rules.terms)

    once(submit, find)
    return get_structure(session, structure_id, organization_id=principal.organization_id)

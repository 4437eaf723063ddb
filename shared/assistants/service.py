"""Use cases of assistants: create, change, delete."""

import uuid
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from shared.assistants.queries import get_assistant
from shared.assistants.resources import check_resources, resources_in
from shared.db import Lock
from shared.keys.principal import Principal
from shared.models import RESOURCE_LISTS, Assistant
from shared.organizations.queries import hold_organization
from shared.rows import metadata
from shared.rows import single as rows
from shared.terms import UNBOUNDED, Terms

CHANGEABLE: Final = frozenset({"name", "description", "input", "model", "meta", *RESOURCE_LISTS})
"""The fields a caller may set."""


def create(
    session: Session, principal: Principal, fields: Mapping[str, Any], *, terms: Terms = UNBOUNDED
) -> Assistant:
    """Create an assistant from a subset of `CHANGEABLE`, `name` among them.

    Raises:
        InvalidRequestError: a resource it names does not exist, or the operator's terms refuse it.
    """
    terms.check(principal.organization_id, fields)
    check_resources(session, principal, resources_in(fields))
    assistant = Assistant(organization_id=principal.organization_id, created_by=principal.user_id, **fields)
    rows.store(session, assistant)
    metadata.note(session, assistant)
    return assistant


DEFAULT_NAME: Final = "default"


def default_assistant(session: Session, principal: Principal) -> Assistant:
    """Return the assistant of runs that name none: the oldest one called `default`, made if there is none.

    It is held, so that it is still there when the run is stored. One caller at a time makes it: of several
    first ones, the others find it.
    """
    hold_organization(session, principal.organization_id, Lock.REFERENCE)
    found = session.scalar(_default_of(principal))
    if found is None:
        hold_organization(session, principal.organization_id, Lock.CHANGE)
        found = session.scalar(_default_of(principal))
    return found or create(session, principal, {"name": DEFAULT_NAME})


def _default_of(principal: Principal) -> Select[Assistant]:
    query = (
        select(Assistant)
        .where(
            Assistant.organization_id == principal.organization_id,
            Assistant.name == DEFAULT_NAME,
            Assistant.deleted_at.is_(None),
        )
        .order_by(Assistant.created_at, Assistant.id)
        .limit(1)
    )
    return Lock.REFERENCE(query, Assistant)


def change(
    session: Session,
    principal: Principal,
    assistant_id: uuid.UUID,
    fields: Mapping[str, Any],
    *,
    terms: Terms = UNBOUNDED,
) -> Assistant:
    """Set the given fields of an assistant; the others stay.

    Raises:
        AssistantNotFoundError: there is no such assistant in the principal's organization.
        InvalidRequestError: a resource it names does not exist, or the operator's terms refuse it.
    """
    terms.check(principal.organization_id, fields)
    assistant = get_assistant(
        session, assistant_id, organization_id=principal.organization_id, lock=Lock.CHANGE
    )
    check_resources(session, principal, resources_in(fields))
    rows.change(session, assistant, fields)
    if "meta" in fields:
        metadata.note_anew(session, assistant)
    return assistant


def delete(session: Session, principal: Principal, assistant_id: uuid.UUID) -> None:
    """Delete an assistant; its runs continue and stay readable.

    Raises:
        AssistantNotFoundError: there is no such assistant in the principal's organization.
    """
    assistant = get_assistant(
        session, assistant_id, organization_id=principal.organization_id, lock=Lock.REMOVAL
    )
    assistant.deleted_at = func.now()
    metadata.forget(session, assistant)

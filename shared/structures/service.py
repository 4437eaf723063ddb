"""Structures: create, change, delete, deploy."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import func
from sqlalchemy.orm import Session

from shared.db import Lock
from shared.keys.principal import Principal
from shared.models import Deployment, DeploymentStatus, JsonObject, Structure
from shared.structures.code import SAMPLE, code_source, unsupported
from shared.structures.queries import get_structure
from shared.terms import UNBOUNDED, Terms

HIDDEN: Final = "********"
"""Shown in place of a variable's value; no answer returns the value."""


def create(
    session: Session, principal: Principal, fields: Mapping[str, Any], *, terms: Terms = UNBOUNDED
) -> Structure:
    """Create a structure, `name` among its fields, and deploy it.

    Raises:
        InvalidRequestError: the operator's terms refuse a limit.
    """
    terms.check(principal.organization_id, fields)
    structure = Structure(
        organization_id=principal.organization_id,
        created_by=principal.user_id,
        **{"code": SAMPLE, **fields},
    )
    session.add(structure)
    session.flush()
    return _deployed(session, principal, structure)


def change(
    session: Session,
    principal: Principal,
    structure_id: uuid.UUID,
    fields: Mapping[str, Any],
    *,
    terms: Terms = UNBOUNDED,
) -> Structure:
    """Set those fields of a structure that are given; the rest stays. New code is deployed.

    A variable whose value is `HIDDEN`, as shown, keeps its present value.

    Raises:
        StructureNotFoundError: there is no such structure in the principal's organization.
        InvalidRequestError: the operator's terms refuse a limit.
    """
    terms.check(principal.organization_id, fields)
    structure = get_structure(
        session, structure_id, organization_id=principal.organization_id, lock=Lock.CHANGE
    )
    for name, value in fields.items():
        setattr(structure, name, _with_values(structure, value) if name == "env_vars" else value)
    session.flush()
    if "code" in fields:
        return _deployed(session, principal, structure)
    session.refresh(structure)
    return structure


def _with_values(structure: Structure, variables: Sequence[JsonObject]) -> list[JsonObject]:
    values = {known["name"]: known["value"] for known in structure.env_vars}
    return [
        {**one, "value": values.get(one["name"], HIDDEN)} if one["value"] == HIDDEN else one
        for one in variables
    ]


def delete(session: Session, principal: Principal, structure_id: uuid.UUID) -> None:
    """Delete a structure; its runs go on and stay readable.

    Raises:
        StructureNotFoundError: there is no such structure in the principal's organization.
    """
    structure = get_structure(
        session, structure_id, organization_id=principal.organization_id, lock=Lock.REMOVAL
    )
    structure.deleted_at = func.now()


def deploy(session: Session, principal: Principal, structure_id: uuid.UUID) -> Deployment:
    """Deploy a structure's code. This succeeds at once, or fails for code that the workers do not execute.

    Raises:
        StructureNotFoundError: there is no such structure in the principal's organization.
    """
    structure = get_structure(
        session, structure_id, organization_id=principal.organization_id, lock=Lock.CHANGE
    )
    why_not = unsupported(structure.code)
    deployment = Deployment(
        organization_id=structure.organization_id,
        structure_id=structure.id,
        status=DeploymentStatus.ERROR if why_not else DeploymentStatus.SUCCEEDED,
        status_detail={"error": why_not} if why_not else None,
        code_source=code_source(structure.code),
        created_by=principal.user_id,
    )
    session.add(deployment)
    session.flush()
    structure.latest_deployment_id = deployment.id
    session.flush()
    return deployment


def _deployed(session: Session, principal: Principal, structure: Structure) -> Structure:
    deploy(session, principal, structure.id)
    session.refresh(structure)
    return structure

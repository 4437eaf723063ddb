"""Named reads of structures and of their deployments."""

import uuid
from collections.abc import Collection, Sequence

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from shared.db import Lock
from shared.errors import DeploymentNotFoundError, StructureNotFoundError
from shared.models import Deployment, DeploymentStatus, Structure
from shared.rows.paging import Page, Part, newest_first
from shared.rows.single import get_owned


def get_structure(
    session: Session, structure_id: uuid.UUID, *, organization_id: uuid.UUID, lock: Lock | None = None
) -> Structure:
    """Return a structure of an organization.

    Args:
        lock: hold its row until the transaction ends.

    Raises:
        StructureNotFoundError: there is none, it was deleted, or it is another organization's.
    """
    return get_owned(
        session,
        Structure,
        structure_id,
        Structure.organization_id == organization_id,
        Structure.deleted_at.is_(None),
        missing=StructureNotFoundError,
        lock=lock,
    )


def structures_among(
    session: Session, identifiers: Collection[uuid.UUID], *, organization_id: uuid.UUID
) -> dict[uuid.UUID, Structure]:
    """Return those of some structures that an organization has, by their ids."""
    if not identifiers:
        return {}
    query = select(Structure).where(
        Structure.id.in_(identifiers),
        Structure.organization_id == organization_id,
        Structure.deleted_at.is_(None),
    )
    return {structure.id: structure for structure in session.scalars(query)}


def page(
    session: Session,
    *,
    organization_id: uuid.UUID,
    ids: Collection[uuid.UUID] | None = None,
    part: Part,
    is_light: bool = False,
) -> Page[Structure]:
    """Return an organization's structures, newest first; if ids are given, only those with one of them.

    Args:
        is_light: leave large values unloaded.
    """
    conditions = [Structure.organization_id == organization_id, Structure.deleted_at.is_(None)]
    if ids is not None:
        conditions.append(Structure.id.in_(ids))
    return newest_first(session, Structure, conditions, part, is_light=is_light)


def names(session: Session, *, organization_id: uuid.UUID) -> Sequence[Row[uuid.UUID, str]]:
    """Return the ids and names of all structures of an organization."""
    return session.execute(
        select(Structure.id, Structure.name).where(
            Structure.organization_id == organization_id, Structure.deleted_at.is_(None)
        )
    ).all()


def get_deployment(session: Session, deployment_id: uuid.UUID, *, organization_id: uuid.UUID) -> Deployment:
    """Return a deployment of an organization's structures.

    Raises:
        DeploymentNotFoundError: there is none, or it is another organization's.
    """
    return get_owned(
        session,
        Deployment,
        deployment_id,
        Deployment.organization_id == organization_id,
        missing=DeploymentNotFoundError,
    )


def page_of_deployments(
    session: Session, structure: Structure, *, statuses: frozenset[DeploymentStatus], part: Part
) -> Page[Deployment]:
    """Return a structure's deployments, newest first; all statuses if none is named."""
    conditions = [
        Deployment.organization_id == structure.organization_id,
        Deployment.structure_id == structure.id,
    ]
    if statuses:
        conditions.append(Deployment.status.in_(statuses))
    return newest_first(session, Deployment, conditions, part)

"""Which role a user has in an organization."""

import uuid

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.models import Membership, Role


def role_of(session: Session, user_id: uuid.UUID, *, organization_id: uuid.UUID) -> Role | None:
    """Return a user's role in an organization, or None if the user does not belong to it."""
    return session.scalar(
        select(Membership.role).where(
            Membership.organization_id == organization_id, Membership.user_id == user_id
        )
    )

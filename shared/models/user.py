"""The tables of users and of their memberships in organizations."""

import uuid
from enum import StrEnum

from sqlalchemy import Enum, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.base import Base, Identified, Timestamped


class User(Identified, Timestamped, Base):
    """A person or a program that acts."""

    __tablename__ = "users"

    email: Mapped[str]
    name: Mapped[str] = mapped_column(server_default="")

    __table_args__ = (Index("uq_users_email", text("lower(email)"), unique=True),)


class Role(StrEnum):
    """A user's rights in an organization."""

    OWNER = "owner"  # also changes and deletes it, and manages all keys
    MEMBER = "member"


class Membership(Base):
    """A user's membership in an organization."""

    __tablename__ = "memberships"

    organization_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("organizations.id", ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    role: Mapped[Role] = mapped_column(
        Enum(
            Role,
            native_enum=False,
            create_constraint=True,
            name="role",
            length=6,
            values_callable=lambda roles: [role.value for role in roles],
        ),
        server_default="member",
    )

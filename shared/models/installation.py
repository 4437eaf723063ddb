"""The table of what an installation knows of itself: one row."""

from sqlalchemy import CheckConstraint
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.base import Base


class Installation(Base):
    """What all processes of an installation share, and nobody else knows."""

    __tablename__ = "installation"
    __table_args__ = (CheckConstraint("is_only", name="is_only"),)

    is_only: Mapped[bool] = mapped_column(primary_key=True, server_default="true")
    channel_secret: Mapped[bytes]  # by which processes know what one of them has published

"""The table of the installation: one row."""

from sqlalchemy import CheckConstraint
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.base import Base


class Installation(Base):
    """Secrets that the processes of an installation share."""

    __tablename__ = "installation"
    __table_args__ = (CheckConstraint("is_only", name="is_only"),)

    is_only: Mapped[bool] = mapped_column(primary_key=True, server_default="true")
    channel_secret: Mapped[bytes]  # seals messages on Redis channels

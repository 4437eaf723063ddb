"""Who acts."""

import uuid
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Principal:
    """The bearer of a valid API key: a user, acting in one organization."""

    organization_id: uuid.UUID
    user_id: uuid.UUID
    key_id: uuid.UUID
    name: str  # the user's e-mail address: what records say of who did it

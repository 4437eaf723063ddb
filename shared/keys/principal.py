"""The principal: the user, the organization and the key of a request."""

import uuid
from dataclasses import dataclass
from typing import NamedTuple

from shared.models import KeyScope, RunScope


class RunAttempt(NamedTuple):
    """An attempt of a structure run, which acts with a key of its own."""

    run_id: uuid.UUID
    attempt: int


@dataclass(frozen=True, slots=True)
class Principal:
    """The bearer of a valid API key: a user, or a structure run in that user's name, in one organization."""

    organization_id: uuid.UUID
    user_id: uuid.UUID
    key_id: uuid.UUID
    name: str  # the user's e-mail address: what records say of who did it
    run: RunAttempt | None = None
    run_scope: RunScope = RunScope.OWN  # what the key of a run may do beyond its own run
    tenant_id: uuid.UUID | None = None  # of the organization, where that was made by the key of another

    scope: KeyScope = KeyScope.ADMIN  # of the key; `api.key_scopes` holds endpoints against it

    @property
    def tenant(self) -> uuid.UUID:
        """Whose share of the API this takes: organizations made by the keys of one are one tenant with it."""
        return self.tenant_id or self.organization_id

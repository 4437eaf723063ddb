"""The organization that a command joins: an operator's by name, a tenant's only on purpose."""

import uuid
from contextlib import suppress
from typing import Final

from sqlalchemy.orm import Session

from cli.listing import confirm
from shared.models import Organization
from shared.organizations import admin_queries

SHOWN: Final = 10  # members in the question


def joined(session: Session, wanted: str, *, yes: bool) -> Organization | None:
    """Return the organization of this id or name, or None if there is none.

    Tenants choose the names of their organizations. So a name alone joins only an organization that was
    created at the command line; for any other, the operator sees its members and confirms.

    Raises:
        NotConfirmedError: it is a tenant's, and the operator did not confirm.
        ConflictError: several organizations of tenants have that name.
    """
    found = admin_queries.find_organization(session, wanted)
    if found is None or found.is_operators or _is_id(wanted):
        return found
    members = admin_queries.members(session, found.id, limit=SHOWN + 1)
    shown = ", ".join(members[:SHOWN]) + (", …" if len(members) > SHOWN else "")
    question = (
        f"The organization {found.name!r} ({found.id}) was created over the API by a tenant, who chose its "
        f"name; its members: {shown or 'none'}. Join it? (`runyard orgs create` creates your own.)"
    )
    confirm(question, yes=yes)
    return found


def _is_id(wanted: str) -> bool:
    with suppress(ValueError):
        return bool(uuid.UUID(wanted))
    return False

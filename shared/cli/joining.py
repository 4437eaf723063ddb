"""Which organization a command is to join: an operator's own by its name, a tenant's only on purpose."""

import uuid
from contextlib import suppress
from typing import Final

from sqlalchemy.orm import Session

from shared.cli.listing import confirm
from shared.models import Organization
from shared.organizations import directory

SHOWN: Final = 10  # members that the question lists


def joined(session: Session, wanted: str, *, yes: bool) -> Organization | None:
    """Return the organization of this id or name, or None if there is none.

    Tenants choose the names of theirs, so a name alone joins only what was made at the command line: of any
    other the members are shown, and the operator is asked.

    Raises:
        NotConfirmedError: it is a tenant's, and the operator did not mean that.
        ConflictError: several tenants' have that name.
    """
    found = directory.find_organization(session, wanted)
    if found is None or found.is_operators or _is_id(wanted):
        return found
    members = directory.members(session, found.id, limit=SHOWN + 1)
    shown = ", ".join(members[:SHOWN]) + (", …" if len(members) > SHOWN else "")
    question = (
        f"The organization {found.name!r} ({found.id}) was made over the API, by whoever chose that name; "
        f"its members: {shown or 'none'}. Join it? (`runyard orgs create` makes one of your own.)"
    )
    confirm(question, yes=yes)
    return found


def _is_id(wanted: str) -> bool:
    with suppress(ValueError):
        return bool(uuid.UUID(wanted))
    return False

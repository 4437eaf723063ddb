"""The first API key of a database: made once, and kept where only this user finds it."""

from pathlib import Path
from typing import Final

from sqlalchemy.orm import Session

from shared.keys import service as keys
from shared.organizations import administration
from shared.private_files import write_private

NAME: Final = "api-key"
ORGANIZATION: Final = "Runyard"
EMAIL: Final = "operator@localhost"


def ensure_first_key(session: Session, directory: Path) -> str:
    """Return the secret kept in a directory, or a new one if the database does not know it."""
    path = directory / NAME
    if path.exists() and keys.find_principal(session, kept := path.read_text().strip()):
        return kept
    organization = administration.ensure_organization(session, ORGANIZATION)
    user = administration.ensure_member(session, organization.id, EMAIL)
    _, secret = keys.create_key(session, organization_id=organization.id, user_id=user.id, name="runyard dev")
    write_private(path, secret.encode())
    return secret

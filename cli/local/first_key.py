"""The first API key of a database, created once and stored in a private file."""

from pathlib import Path
from typing import Final

from sqlalchemy.orm import Session

from cli.local.private_files import write_private
from shared.keys import service as keys
from shared.organizations import admin

NAME: Final = "api-key"
ORGANIZATION: Final = "Runyard"
EMAIL: Final = "operator@localhost"


def ensure_first_key(session: Session, directory: Path) -> str:
    """Return the stored secret, or a new one if the database does not know it."""
    path = directory / NAME
    if path.exists() and keys.find_principal(session, kept := path.read_text().strip()):
        return kept
    organization = admin.ensure_organization(session, ORGANIZATION)
    user = admin.ensure_member(session, organization.id, EMAIL)
    _, secret = keys.create_key(session, organization_id=organization.id, user_id=user.id, name="runyard dev")
    write_private(path, secret.encode())
    return secret

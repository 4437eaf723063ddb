"""The first API key of a database: made once, and kept where only this user finds it."""

from pathlib import Path
from typing import Final

from sqlalchemy.orm import Session

from shared.keys import service as keys
from shared.private_files import write_private

NAME: Final = "api-key"
ORGANIZATION: Final = "Runyard"
EMAIL: Final = "operator@localhost"


def ensure_first_key(session: Session, directory: Path) -> str:
    """Return the secret kept in a directory, or a new one if the database does not know it."""
    path = directory / NAME
    if path.exists() and keys.find_principal(session, kept := path.read_text().strip()):
        return kept
    organization_id, user_id = keys.ensure_member(session, organization=ORGANIZATION, email=EMAIL)
    _, secret = keys.create_key(session, organization_id=organization_id, user_id=user_id, name="runyard dev")
    write_private(path, secret.encode())
    return secret

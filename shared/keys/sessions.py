"""Sessions of the console: sealed tokens that stand for an API key in a browser, and links that sign in once.

A token names the key by its id and holds no secret. It is sealed by the secret of the installation, so every
process reads it, and it is good only while its key is.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from time import time
from typing import Final, Self

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.errors import ConflictError, UnauthenticatedError
from shared.idempotency import service as idempotency
from shared.keys.principal import Principal
from shared.keys.service import find_principal_of
from shared.models import Installation

LIFETIME: Final = timedelta(hours=12)
"""How long a session lasts, whatever is done in it."""

LINK_LIFETIME: Final = timedelta(minutes=15)
"""How long a link may be used. Shorter than what is remembered of its use (`idempotency.KEY_TTL`)."""

MAX_LENGTH: Final = 200  # characters of a token that are looked at

_BODY: Final = 1 + 16 + 8 + 12  # bytes: kind, key, instant in microseconds, nonce
_MAC: Final = 32  # bytes


class _Kind(bytes, Enum):
    SESSION = b"s"
    LINK = b"l"


@dataclass(frozen=True, slots=True)
class Token:
    """What a token says."""

    key_id: uuid.UUID
    nonce: bytes


@dataclass(frozen=True, slots=True)
class SessionSeal:
    """Makes and reads the tokens of an installation."""

    key: bytes
    clock: Callable[[], float] = time  # seconds since the epoch

    @classmethod
    def of(cls, session: Session) -> Self:
        """Read the installation's secret; it never changes, so a process reads it once."""
        secret = session.scalar(select(Installation.channel_secret)) or b""
        return cls(hashlib.blake2b(b"console", key=secret).digest())

    def new_session(self, key_id: uuid.UUID) -> str:
        """Make the token of a session."""
        return self._make(_Kind.SESSION, key_id)

    def new_link(self, key_id: uuid.UUID) -> str:
        """Make the token of a link that signs in once."""
        return self._make(_Kind.LINK, key_id)

    def find_session(self, token: str) -> Token | None:
        """Return what the token of a session says; None if it is forged or too old."""
        return self._find(_Kind.SESSION, token, LIFETIME)

    def use_link(self, session: Session, token: str) -> Principal:
        """Use up the token of a link, and return whose key it stands for.

        Raises:
            UnauthenticatedError: it is forged, too old or used, or its key is deleted.
        """
        said = self._find(_Kind.LINK, token, LINK_LIFETIME)
        principal = None if said is None else find_principal_of(session, said.key_id)
        if said is None or principal is None:
            raise UnauthenticatedError("This link is not valid, or not any more.")
        name, use = f"console link {said.nonce.hex()}", secrets.token_bytes(32)
        try:
            # Each use is a request of its own: a second one finds the name taken.
            idempotency.claim(session, principal.organization_id, name, use)
        except ConflictError as used:
            raise UnauthenticatedError("This link has been used.") from used
        return principal

    def csrf_token(self, session_token: str) -> str:
        """Return what a page of a session sends with each action, which pages of others cannot know."""
        return hashlib.blake2b(b"csrf" + session_token.encode(), key=self.key, digest_size=24).hexdigest()

    def _make(self, kind: _Kind, key_id: uuid.UUID) -> str:
        instant = int(self.clock() * 1_000_000).to_bytes(8)
        body = kind.value + key_id.bytes + instant + secrets.token_bytes(12)
        return base64.urlsafe_b64encode(body + self._mac(body)).rstrip(b"=").decode()

    def _find(self, kind: _Kind, token: str, lifetime: timedelta) -> Token | None:
        if len(token) > MAX_LENGTH or not token.isascii():
            return None
        try:
            sealed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        body, mac = sealed[:_BODY], sealed[_BODY:]
        if len(body) != _BODY or not hmac.compare_digest(mac, self._mac(body)) or body[:1] != kind.value:
            return None
        age = self.clock() - int.from_bytes(body[17:25]) / 1_000_000
        if age > lifetime.total_seconds():
            return None
        return Token(uuid.UUID(bytes=body[1:17]), body[25:])

    def _mac(self, body: bytes) -> bytes:
        return hashlib.blake2b(body, key=self.key, digest_size=_MAC).digest()

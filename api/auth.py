"""Bearer keys: from a request's header to the principal who acts."""

import asyncio
import time
import uuid
from collections import OrderedDict
from datetime import timedelta
from typing import Final

from fastapi.security import APIKeyQuery, HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import HTTPConnection, Request

from api.key_uses import KeyUses
from api.traffic.admission import Gate
from api.traffic.lanes import KEY_LOOKUPS
from api.traffic.refusal_limiter import RefusalLimiter
from shared.db import Sessions, unit_of_work
from shared.errors import TooManyRefusalsError, UnauthenticatedError
from shared.keys.principal import Principal
from shared.keys.service import (
    find_principal,
    find_principal_of,
    has_checksum,
    has_old_keys,
    hash_secret,
    may_be_secret,
)

CACHE_SIZE: Final = 4096
"""Keys remembered at once, good and bad; about a megabyte."""

REFUSAL_TTL: Final = timedelta(seconds=1)
"""How long a key that is none is remembered: a client that loops is cheap, a new key works soon."""

OLD_KEYS_TTL: Final = timedelta(seconds=10)
"""How long it is remembered that there are no keys without a checksum."""

LOOKUP_TIMEOUT: Final = 15.0  # seconds
REFUSAL_RATE: Final = 10

bearer = HTTPBearer(
    auto_error=False,
    scheme_name="ApiKey",
    description="An API key (`ry_…`), made with `runyard keys create`.",
)


class DocumentedBearer(HTTPBearer):
    """The scheme of `bearer` in the OpenAPI document; it reads nothing, as `KeyedRoute` has read the key."""

    async def __call__(self, request: HTTPConnection) -> HTTPAuthorizationCredentials | None:
        del request
        return None


documented_bearer = DocumentedBearer(
    auto_error=False, scheme_name=bearer.scheme_name, description=bearer.model.description
)

query_key = APIKeyQuery(
    name="api_key",
    auto_error=False,
    scheme_name="WebhookKey",
    description="An API key in the query, for callers of a webhook that cannot send a header.",
)


class KeyCache:
    """Remembers for a short while who bears which key; secrets themselves are not kept.

    However many requests come with one key, it is looked up once at a time, with few connections that are
    for nothing else; keys that were good when last seen do not wait behind those that are new.
    """

    def __init__(
        self,
        sessions: Sessions,
        *,
        ttl: timedelta,
        size: int = CACHE_SIZE,
        lookups: Gate | None = None,
        refusals: float = REFUSAL_RATE,
    ) -> None:
        """Make an empty cache.

        Args:
            sessions: where keys are looked up.
            ttl: how long what was found is trusted.
            size: keys that are remembered at once.
            lookups: the lane of look-ups.
            refusals: wrong keys a second that one address may try for long.
        """
        self._sessions = sessions
        self._ttl = ttl
        self._size = size
        self._lookups = lookups or Gate(KEY_LOOKUPS, timeout=LOOKUP_TIMEOUT)
        self._refusals = RefusalLimiter(refusals)
        self._known: OrderedDict[bytes, tuple[float, Principal | None]] = OrderedDict()
        self._pending: dict[bytes, asyncio.Task[Principal | None]] = {}
        self._old_keys = (0.0, True)

    def __len__(self) -> int:
        return len(self._known)

    async def find(self, secret: str, *, address: str = "") -> Principal | None:
        """Return who bears this secret, or None: at most `ttl` seconds out of date.

        Args:
            secret: as the caller has sent it.
            address: where it came from.

        Raises:
            TooManyRefusalsError: the address has tried too many wrong keys, and this one was not good
                when it was last seen.
            OverloadedError: it could not be looked up in time.
        """
        return await self._find(hash_secret(secret), secret, address)

    async def find_of(self, key_id: uuid.UUID) -> Principal | None:
        """Return who bears the key with an id, or None: as `find`, for the sessions of browsers.

        Raises:
            OverloadedError: it could not be looked up in time.
        """
        return await self._find(key_id.bytes, key_id, None)

    def may_try(self, address: str) -> bool:
        """Whether an address may try a secret that was not seen before."""
        return self._refusals.may_try(address)

    def note_refusal(self, address: str) -> None:
        """Count a secret that was refused without a look-up."""
        self._refusals.note(address)

    async def _find(self, digest: bytes, whose: str | uuid.UUID, address: str | None) -> Principal | None:
        """Find a principal, by the cache or with one look-up at a time.

        Args:
            digest: what it is remembered by.
            whose: the secret of a key, or its id.
            address: whose refusals are paced; None for what nobody can guess.
        """
        expires_at, principal = self._known.get(digest, (0.0, None))
        if expires_at > time.monotonic():
            return principal
        if address is not None and principal is None and not self._refusals.may_try(address):
            raise TooManyRefusalsError
        pending = self._pending.get(digest)
        if pending is None:
            pending = asyncio.create_task(self._looked_up(digest, whose, was_good=principal is not None))
            self._pending[digest] = pending

            def forget(done: asyncio.Task[Principal | None]) -> None:
                del self._pending[digest]
                if not done.cancelled():
                    done.exception()  # those who waited for it may have left

            pending.add_done_callback(forget)
        found = await asyncio.shield(pending)  # others may wait for it, too
        if found is None and address is not None:
            self._refusals.note(address)
        return found

    async def is_worth_a_look(self, secret: str) -> bool:
        """Whether this may be a key; garbage is told by its form and its checksum, without PostgreSQL.

        A secret without a checksum may be a key only while there are such keys, of earlier releases.
        """
        if not may_be_secret(secret) or has_checksum(secret):
            return may_be_secret(secret)
        expires_at, are_there = self._old_keys
        if expires_at <= time.monotonic():

            def look() -> bool:
                with unit_of_work(self._sessions) as session:
                    return has_old_keys(session)

            are_there = await self._lookups.run(True, look)  # a group of look-ups
            self._old_keys = (time.monotonic() + OLD_KEYS_TTL.total_seconds(), are_there)
        return are_there

    async def _looked_up(self, digest: bytes, whose: str | uuid.UUID, *, was_good: bool) -> Principal | None:
        """Look a key up, and remember what was found; the keys that were asked for last stay."""
        principal = await self._lookups.run(was_good, self._look_up, whose)
        ttl = self._ttl if principal else min(self._ttl, REFUSAL_TTL)
        self._known[digest] = (time.monotonic() + ttl.total_seconds(), principal)
        self._known.move_to_end(digest)
        while len(self._known) > self._size:
            self._known.popitem(last=False)
        return principal

    def _look_up(self, whose: str | uuid.UUID) -> Principal | None:
        with unit_of_work(self._sessions) as session:
            if isinstance(whose, str):
                return find_principal(session, whose)
            return find_principal_of(session, whose)


async def authenticate(request: Request) -> Principal:
    """Return who sends a request.

    Raises:
        UnauthenticatedError: it carries no key, or one that is not valid.
    """
    credentials = await bearer(request)
    return await _bearer_of(request, credentials.credentials if credentials else None)


async def authenticate_webhook(request: Request) -> Principal:
    """As `authenticate`; a key may also be in the query, of which no log line has anything."""
    secret = await query_key(request)
    return await authenticate(request) if secret is None else await _bearer_of(request, secret)


async def _bearer_of(request: Request, secret: str | None) -> Principal:
    if secret is None:
        raise UnauthenticatedError
    resources = request.app.state.resources
    keys: KeyCache = resources.keys
    uses: KeyUses = resources.key_uses
    address = request.client.host if request.client else ""
    if not await keys.is_worth_a_look(secret):
        raise UnauthenticatedError
    principal = await keys.find(secret, address=address)
    if principal is None:
        raise UnauthenticatedError
    uses.note(principal.key_id)
    return principal

"""Bearer keys: from a request's header to the principal who acts."""

import asyncio
import time
from collections import OrderedDict
from datetime import timedelta
from typing import Final

from fastapi.security import APIKeyQuery, HTTPBearer
from starlette.requests import Request

from api.admission import Gate
from api.key_uses import KeyUses
from api.lanes import KEY_LOOKUPS
from api.pacing import Refusals
from shared.db import Sessions, unit_of_work
from shared.errors import TooManyRefusalsError, UnauthenticatedError
from shared.keys.principal import Principal
from shared.keys.service import (
    find_principal,
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

LOOKUP_PATIENCE: Final = 15.0  # seconds
REFUSAL_RATE: Final = 10

bearer = HTTPBearer(
    auto_error=False,
    scheme_name="ApiKey",
    description="An API key (`ry_…`), made with `runyard keys create`.",
)

query_key = APIKeyQuery(
    name="api_key",
    auto_error=False,
    scheme_name="WebhookKey",
    description="An API key, for callers of a webhook that have nothing but its address.",
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
        self._lookups = lookups or Gate(KEY_LOOKUPS, patience=LOOKUP_PATIENCE)
        self._refusals = Refusals(refusals)
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
        digest = hash_secret(secret)
        expires_at, principal = self._known.get(digest, (0.0, None))
        if expires_at > time.monotonic():
            return principal
        if principal is None and not self._refusals.may_try(address):
            raise TooManyRefusalsError
        found = await self._found(digest, secret, was_good=principal is not None)
        if found is None:
            self._refusals.note(address)
        return found

    async def is_worth_a_look(self, secret: str) -> bool:
        """Whether this may be a key at all; garbage is told by its form and checksum, without PostgreSQL."""
        return may_be_secret(secret) and (has_checksum(secret) or await self._there_are_old_keys())

    async def _found(self, digest: bytes, secret: str, *, was_good: bool) -> Principal | None:
        pending = self._pending.get(digest)
        if pending is None:
            pending = asyncio.create_task(self._looked_up(digest, secret, was_good=was_good))
            self._pending[digest] = pending
            pending.add_done_callback(lambda done: self._forget(digest, done))
        return await asyncio.shield(pending)  # others may wait for it, too

    def _forget(self, digest: bytes, done: asyncio.Task[Principal | None]) -> None:
        del self._pending[digest]
        if not done.cancelled():
            done.exception()  # those who waited for it may have left

    async def _looked_up(self, digest: bytes, secret: str, *, was_good: bool) -> Principal | None:
        principal = await self._lookups.run(was_good, self._look_up, secret)
        self._remember(digest, principal)
        return principal

    def _look_up(self, secret: str) -> Principal | None:
        with unit_of_work(self._sessions) as session:
            return find_principal(session, secret)

    async def _there_are_old_keys(self) -> bool:
        """Whether a secret without a checksum is worth a look-up; garbage of that form is not, else."""
        expires_at, are_there = self._old_keys
        if expires_at <= time.monotonic():
            are_there = await self._lookups.run(True, self._look_for_old_keys)  # a group of look-ups
            self._old_keys = (time.monotonic() + OLD_KEYS_TTL.total_seconds(), are_there)
        return are_there

    def _look_for_old_keys(self) -> bool:
        with unit_of_work(self._sessions) as session:
            return has_old_keys(session)

    def _remember(self, digest: bytes, principal: Principal | None) -> None:
        ttl = self._ttl if principal else min(self._ttl, REFUSAL_TTL)
        self._known[digest] = (time.monotonic() + ttl.total_seconds(), principal)
        self._known.move_to_end(digest)
        while len(self._known) > self._size:
            self._known.popitem(last=False)


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

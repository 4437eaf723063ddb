"""Bearer keys: from a request's header to the principal who acts."""

import asyncio
import time
from collections import OrderedDict
from datetime import timedelta
from typing import Final

from anyio import CapacityLimiter, to_thread
from fastapi.security import APIKeyQuery, HTTPBearer
from starlette.requests import Request

from api.key_uses import KeyUses
from shared.db import Sessions, unit_of_work
from shared.errors import UnauthenticatedError
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

LOOK_UPS: Final = 4
"""Threads, and connections, that look keys up; none of those that endpoints share."""

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
    """Remembers for a short while who bears which key; secrets themselves are not kept."""

    def __init__(self, sessions: Sessions, *, ttl: timedelta, size: int = CACHE_SIZE) -> None:
        self._sessions = sessions
        self._ttl = ttl
        self._size = size
        self._known: OrderedDict[bytes, tuple[float, Principal | None]] = OrderedDict()
        self._asked: dict[bytes, asyncio.Future[Principal | None]] = {}  # one look-up for all who ask at once
        self._old_keys = (0.0, True)
        self._threads = CapacityLimiter(LOOK_UPS)

    def __len__(self) -> int:
        return len(self._known)

    async def find(self, secret: str) -> Principal | None:
        """Return who bears this secret, or None: at most `ttl` seconds out of date."""
        digest = hash_secret(secret)
        expires_at, principal = self._known.get(digest, (0.0, None))
        if expires_at > time.monotonic():
            return principal
        asked = self._asked.get(digest)
        if asked is None:
            asked = self._asked[digest] = asyncio.ensure_future(self._find_anew(digest, secret))
            asked.add_done_callback(lambda _: self._asked.pop(digest, None))
        return await asyncio.shield(asked)

    async def is_worth_a_look(self, secret: str) -> bool:
        """Whether this may be a key at all; garbage is told by its form and checksum, without PostgreSQL."""
        return may_be_secret(secret) and (has_checksum(secret) or await self._there_are_old_keys())

    async def _find_anew(self, digest: bytes, secret: str) -> Principal | None:
        principal = await to_thread.run_sync(self._look_up, secret, limiter=self._threads)
        self._remember(digest, principal)
        return principal

    def _look_up(self, secret: str) -> Principal | None:
        with unit_of_work(self._sessions) as session:
            return find_principal(session, secret)

    async def _there_are_old_keys(self) -> bool:
        """Whether a secret without a checksum is worth a look-up; garbage of that form is not, else."""
        expires_at, are_there = self._old_keys
        if expires_at <= time.monotonic():
            are_there = await to_thread.run_sync(self._look_for_old_keys, limiter=self._threads)
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
    principal = await keys.find(secret) if await keys.is_worth_a_look(secret) else None
    if principal is None:
        raise UnauthenticatedError
    uses.note(principal.key_id)
    return principal

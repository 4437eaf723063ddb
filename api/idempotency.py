"""`Idempotency-Key`: a create that is sent again answers with what it made the first time."""

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Final, Protocol, TypeVar

from fastapi import Depends, Header, Request
from sqlalchemy.orm import Session

from api.dependencies import PrincipalDep, SessionDep
from shared.errors import ConflictError, NotFoundError
from shared.idempotency import service
from shared.keys.principal import Principal

PRINTABLE: Final = r"^[\x20-\x7e]+$"

IdempotencyKeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=PRINTABLE,
        description="A key of the caller for this request. The same key and body within 24 h return the "
        "resource of the first request; the same key with another body is a 409.",
    ),
]


class Made(Protocol):
    """Something with an id."""

    id: uuid.UUID


M = TypeVar("M", bound=Made)


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """A request with an `Idempotency-Key`."""

    organization_id: uuid.UUID
    key: str
    fingerprint: bytes

    def once(self, session: Session, make: Callable[[], M], find: Callable[[uuid.UUID], M]) -> M:
        """Return what `make` makes, or what `find` finds by the id of what was made before.

        Raises:
            ConflictError: the key was used for another request, or what was made can no longer be found.
        """
        made_before = service.claim(session, self.organization_id, self.key, self.fingerprint)
        if made_before is None:
            made = make()
            service.remember(session, self.organization_id, self.key, made.id)
            return made
        try:
            return find(made_before)
        except NotFoundError as gone:
            raise ConflictError(
                f"This Idempotency-Key made {made_before}, which is deleted or not yours to see."
            ) from gone


def _always(make: Callable[[], M], find: Callable[[uuid.UUID], M]) -> M:
    del find
    return make()


class OnceOrAlways(Protocol):
    """How a create is done: once for its key, or, without a key, each time."""

    def __call__(self, make: Callable[[], M], find: Callable[[uuid.UUID], M]) -> M: ...


async def keyed_request(request: Request, principal: Principal, key: str | None) -> KeyedRequest | None:
    """Return a request with its `Idempotency-Key`; None without one."""
    if key is None:
        return None
    body = await request.body()
    target = f"{request.method} {request.scope['path']}\n".encode()
    return KeyedRequest(principal.organization_id, key, hashlib.sha256(target + body).digest())


async def _once(
    request: Request,
    session: SessionDep,
    principal: PrincipalDep,
    idempotency_key: IdempotencyKeyHeader = None,
) -> OnceOrAlways:
    keyed = await keyed_request(request, principal, idempotency_key)
    return _always if keyed is None else partial(keyed.once, session)


OnceDep = Annotated[OnceOrAlways, Depends(_once)]

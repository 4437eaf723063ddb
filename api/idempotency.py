"""`Idempotency-Key`: a create that is sent again answers with what it made the first time."""

import hashlib
import uuid
from collections.abc import Callable
from typing import Annotated, Final, Protocol, TypeVar

from fastapi import Depends, Header, Request
from sqlalchemy.orm import Session

from api.dependencies import PrincipalDep, SessionDep
from shared.errors import ConflictError, NotFoundError
from shared.idempotency import service

PRINTABLE: Final = r"^[\x20-\x7e]+$"

IdempotencyKeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=PRINTABLE,
        description="A name of the caller's for this create. Sent again within 24 h with the same body, it "
        "makes nothing new and answers with what was made; with another body it is a 409.",
    ),
]


class Made(Protocol):
    """Something with an id."""

    id: uuid.UUID


M = TypeVar("M", bound=Made)


class Once:
    """Makes the resource of one request, unless the request's key has one already."""

    def __init__(self, session: Session, organization_id: uuid.UUID, key: str, fingerprint: bytes) -> None:
        self._session = session
        self._organization_id = organization_id
        self._key = key
        self._fingerprint = fingerprint

    def __call__(self, make: Callable[[], M], find: Callable[[uuid.UUID], M]) -> M:
        """Return what `make` makes, or what `find` finds by the id of what was made before.

        Raises:
            ConflictError: the key was used for another request, or what was made can no longer be found.
        """
        made_before = service.claim(self._session, self._organization_id, self._key, self._fingerprint)
        if made_before is not None:
            return _found_again(find, made_before)
        made = make()
        service.remember(self._session, self._organization_id, self._key, made.id)
        return made


def _found_again(find: Callable[[uuid.UUID], M], made_before: uuid.UUID) -> M:
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


async def _once(
    request: Request,
    session: SessionDep,
    principal: PrincipalDep,
    idempotency_key: IdempotencyKeyHeader = None,
) -> OnceOrAlways:
    if idempotency_key is None:
        return _always
    body = await request.body()
    target = f"{request.method} {request.scope['path']}\n".encode()
    return Once(session, principal.organization_id, idempotency_key, hashlib.sha256(target + body).digest())


OnceDep = Annotated[OnceOrAlways, Depends(_once)]

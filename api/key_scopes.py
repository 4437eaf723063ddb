"""The scope that a key needs for an endpoint. Reading needs `read`; any other endpoint says what it takes."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

from shared.errors import ForbiddenError
from shared.keys.principal import Principal
from shared.models import KeyScope

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

_ATTRIBUTE: Final = "__key_scope__"


def takes(scope: KeyScope) -> Callable[[Endpoint], Endpoint]:
    """Mark an endpoint with the least scope of a key that may call it, whatever the method."""

    def mark(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _ATTRIBUTE, scope)
        return endpoint

    return mark


def marked_scope(endpoint: Callable[..., Any]) -> KeyScope | None:
    """Return the scope that an endpoint is marked with; None without a mark."""
    return getattr(endpoint, _ATTRIBUTE, None)


def needed_scope(endpoint: Callable[..., Any], method: str) -> KeyScope:
    """Return the least scope for a request. Without a mark, a method that changes something takes `admin`."""
    unmarked = KeyScope.READ if method in SAFE_METHODS else KeyScope.ADMIN
    return marked_scope(endpoint) or unmarked


def check(principal: Principal, endpoint: Callable[..., Any], method: str) -> None:
    """Refuse a request that goes beyond the scope of its key.

    Raises:
        ForbiddenError: the key's scope is too narrow.
    """
    require(principal, needed_scope(endpoint, method))


def require(principal: Principal, needed: KeyScope) -> None:
    """Refuse a principal whose key has a narrower scope.

    Raises:
        ForbiddenError: the key's scope is too narrow.
    """
    if not principal.scope.includes(needed):
        raise ForbiddenError(
            f"This takes a key with the scope `{needed}`; the scope of this key is `{principal.scope}`."
        )

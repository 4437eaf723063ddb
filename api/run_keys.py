"""What the key of a structure run may call: nothing but what is marked here as open to it.

The key is in the hands of whatever the program loads, so it is not the key of its user: it reports of its own
run and reads that. Only if its structure says so (`run_scope: runs`) may it start and read runs of others.
"""

import uuid
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final, TypeVar

from shared.errors import ForbiddenError
from shared.keys.principal import Principal
from shared.models import RunScope

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

_ATTRIBUTE: Final = "__run_access__"
_OWN_ID: Final = "structure_run_id"


class RunAccess(StrEnum):
    """How far an endpoint is open to the key of a run."""

    REPORT = "report"  # the use case itself refuses reports of other runs
    OWN = "own"  # of its own run; of any run if the structure's scope is `runs`
    RUNS = "runs"  # only if the structure's scope is `runs`


def open_to_runs(access: RunAccess) -> Callable[[Endpoint], Endpoint]:
    """Mark an endpoint as open to the keys of runs; one that is not marked is closed to them."""

    def mark(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _ATTRIBUTE, access)
        return endpoint

    return mark


def access_of(endpoint: Callable[..., Any]) -> RunAccess | None:
    """How far an endpoint is open to the keys of runs; None if it is closed to them."""
    return getattr(endpoint, _ATTRIBUTE, None)


def check(principal: Principal, endpoint: Callable[..., Any], path_params: Mapping[str, Any]) -> None:
    """Refuse the key of a run where it has no business; any other key passes.

    Raises:
        ForbiddenError: the endpoint is not open to this key.
    """
    if principal.run is None:
        return
    access = access_of(endpoint)
    if access is RunAccess.REPORT:
        return
    if access is not None and principal.run_scope is RunScope.RUNS:
        return
    if access is RunAccess.OWN and _is(path_params.get(_OWN_ID), principal.run.run_id):
        return
    if access is None:
        raise ForbiddenError("The key of a run may not do this.")
    raise ForbiddenError("The key of a run may do this only if its structure's `run_scope` is `runs`.")


def _is(given: object, run_id: uuid.UUID) -> bool:
    try:
        return uuid.UUID(str(given)) == run_id
    except ValueError:
        return False

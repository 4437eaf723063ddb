"""Checks of the resources that an assistant or a run names."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy.orm import Session

from shared.errors import InvalidRequestError
from shared.keys.principal import Principal
from shared.models import RESOURCE_LISTS
from shared.rulesets.queries import missing_rulesets
from shared.structures.queries import structures_among


def check_resources(session: Session, principal: Principal, lists: Mapping[str, Sequence[uuid.UUID]]) -> None:
    """Refuse an id that names nothing.

    Args:
        lists: by the name of the field that holds them, such as `additional_ruleset_ids`.

    Raises:
        InvalidRequestError: naming the field and the id.
    """
    for field, identifiers in lists.items():
        for suffix, (noun, find_missing) in _CHECKED.items():
            if not field.endswith(suffix):
                continue
            missing = find_missing(session, identifiers, organization_id=principal.organization_id)
            if missing:
                message = f"There is no such {noun}: {missing[0]}."
                raise InvalidRequestError(message, path=(field,))


def _missing_structures(
    session: Session, identifiers: Sequence[uuid.UUID], *, organization_id: uuid.UUID
) -> Sequence[uuid.UUID]:
    found = structures_among(session, identifiers, organization_id=organization_id)
    return [identifier for identifier in identifiers if identifier not in found]


_CHECKED: Final = {
    "ruleset_ids": ("ruleset", missing_rulesets),
    "structure_ids": ("structure", _missing_structures),
}
"""The lists whose ids have rows, by the end of their names."""


def resources_in(fields: Mapping[str, Any]) -> dict[str, Sequence[uuid.UUID]]:
    """Those fields that list resources."""
    return {name: fields[name] for name in RESOURCE_LISTS if name in fields}

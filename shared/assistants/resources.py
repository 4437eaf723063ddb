"""The resources an assistant or a run may name: those of its organization that exist."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.orm import Session

from shared.errors import InvalidRequestError
from shared.keys.principal import Principal
from shared.models import RESOURCE_LISTS
from shared.rulesets.queries import missing_rulesets


def check_resources(session: Session, principal: Principal, lists: Mapping[str, Sequence[uuid.UUID]]) -> None:
    """Refuse an id that names nothing.

    Args:
        lists: by the name of the field that holds them, such as `additional_ruleset_ids`.

    Raises:
        InvalidRequestError: naming the field and the id.
    """
    for field, identifiers in lists.items():
        if field.endswith("ruleset_ids"):
            missing = missing_rulesets(session, identifiers, organization_id=principal.organization_id)
            if missing:
                message = f"There is no such ruleset: {missing[0]}."
                raise InvalidRequestError(message, path=(field,))


def resources_in(fields: Mapping[str, Any]) -> dict[str, Sequence[uuid.UUID]]:
    """Those fields that list resources."""
    return {name: fields[name] for name in RESOURCE_LISTS if name in fields}

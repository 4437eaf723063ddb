"""What an operator lets callers ask for: which models, and how much of a worker's time."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any, Final, Self

from shared.errors import InvalidRequestError

EVERYBODY: Final = "*"


@dataclass(frozen=True, slots=True)
class ModelRules:
    """Patterns of the models that may be used, by organization.

    An organization with patterns of its own may use the models that they name, and no others. Any other
    organization may use the models that the patterns of everybody name, or every model if there are none.
    """

    patterns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `openai/*, echo` or, by organization, `<id>=openai/*, echo; *=echo`.

        Raises:
            ValueError: saying which part makes no sense.
        """
        found: dict[str, tuple[str, ...]] = {}
        for group in filter(None, map(str.strip, text.split(";"))):
            who, equals, listed = group.rpartition("=")
            whose = _organization(who.strip()) if equals else EVERYBODY
            patterns = tuple(name for part in listed.split(",") if (name := part.strip()))
            if whose in found or not patterns:
                raise ValueError(f"{group!r} names no model, or an organization a second time.")
            found[whose] = patterns
        return cls(found)

    def allowed(self, organization_id: uuid.UUID) -> Sequence[str] | None:
        """The patterns for an organization; None if it may use every model."""
        own = self.patterns.get(str(organization_id))
        return self.patterns.get(EVERYBODY) if own is None else own

    def refusal(self, organization_id: uuid.UUID, model: str) -> str | None:
        """Why an organization may not use a model; None if it may."""
        allowed = self.allowed(organization_id)
        if allowed is None or any(fnmatchcase(model, pattern) for pattern in allowed):
            return None
        return f"The model {model!r} is not allowed here; allowed are: {', '.join(allowed)}."


def _organization(name: str) -> str:
    if name == EVERYBODY:
        return name
    try:
        return str(uuid.UUID(name))
    except ValueError:
        raise ValueError(f"{name!r} is not the id of an organization, nor `*` for everybody.") from None


@dataclass(frozen=True, slots=True)
class Terms:
    """What callers may ask for; what is refused is told with what is allowed."""

    models: ModelRules = field(default_factory=ModelRules)
    caps: Mapping[str, Any] = field(default_factory=dict)  # by the names in `shared.models.LIMITS`

    def check(self, organization_id: uuid.UUID, fields: Mapping[str, Any]) -> None:
        """Refuse a model or a limit that a caller gives an assistant, a structure or a run.

        Raises:
            InvalidRequestError: naming the field, and what is allowed.
        """
        model = fields.get("model")
        if model is not None and (refusal := self.models.refusal(organization_id, model)):
            raise InvalidRequestError(refusal, path=("model",))
        for name, cap in self.caps.items():
            asked = fields.get(name)
            if asked is not None and asked > cap:
                shown = f"{cap.total_seconds():g} s" if isinstance(cap, timedelta) else str(cap)
                message = f"{name} is {shown} at the most (RUNYARD_{name.upper()}_CAP)."
                raise InvalidRequestError(message, path=(name,))

    def capped(self, limits: Mapping[str, Any]) -> dict[str, Any]:
        """Limits that were stored under other terms, as they hold under these."""
        return {
            name: value if value is None or name not in self.caps else min(value, self.caps[name])
            for name, value in limits.items()
        }


UNBOUNDED: Final = Terms()
"""Terms of one who asks for nothing on a caller's behalf."""

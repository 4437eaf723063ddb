"""What a caller asks of the guardrails of a run."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, RootModel, StrictBool

from shared.extensions import DEFAULT_THRESHOLD


class _Strict(BaseModel):
    """Refuses unknown keys: a misspelt one would silently leave a run unguarded."""

    model_config = ConfigDict(extra="forbid")


class Watched(_Strict):
    """Whether a detector checks the input or the output, and from which confidence on."""

    enabled: StrictBool = False
    threshold: Annotated[float, Field(strict=True, ge=0, le=1)] = DEFAULT_THRESHOLD


class Mask(_Strict):
    """What a detector does with its findings."""

    remove_entity_value: StrictBool = False


class Guardrail(_Strict):
    """The guardrail of one detector."""

    input: Watched | None = None
    output: Watched | None = None
    mask: Mask | None = None


class Guardrails(RootModel[dict[str, Guardrail | None]]):
    """The guardrails of a run, by detector: `hap`, `social_bias`, `pii` or another one."""

    def enabled(self) -> list[str]:
        """Return the names of the guardrails that check the input or the output."""
        sides = {name: (one.input, one.output) for name, one in self.root.items() if one is not None}
        return [name for name, both in sides.items() if any(side and side.enabled for side in both)]

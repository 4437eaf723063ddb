"""What a caller asks of the guardrails of a run (contract: watsonx §2.3)."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, RootModel, StrictBool

from shared.guardrails import DEFAULT_THRESHOLD


class _Strict(BaseModel):
    """A misspelt key would leave a run unguarded without a word."""

    model_config = ConfigDict(extra="forbid")


class Watched(_Strict):
    """Whether a detector looks at one side of a run, and how sure it has to be."""

    enabled: StrictBool = False
    threshold: Annotated[float, Field(strict=True, ge=0, le=1)] = DEFAULT_THRESHOLD


class Mask(_Strict):
    """What is done with what a detector finds."""

    remove_entity_value: StrictBool = False


class Guardrail(_Strict):
    """Where one detector looks, and what it does with what it finds."""

    input: Watched | None = None
    output: Watched | None = None
    mask: Mask | None = None

    @property
    def is_enabled(self) -> bool:
        return any(side is not None and side.enabled for side in (self.input, self.output))


class Guardrails(RootModel[dict[str, Guardrail | None]]):
    """The guardrails of a run by the names of their detectors: `hap`, `social_bias`, `pii` or another."""

    def enabled(self) -> list[str]:
        """The names of those that are to look at anything."""
        return [name for name, one in self.root.items() if one is not None and one.is_enabled]

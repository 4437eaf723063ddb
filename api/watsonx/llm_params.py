"""What a caller may ask of a model, and of what guards it (contract: watsonx §2.2, §2.3)."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool

Whole = Annotated[int, Field(strict=True, ge=0, le=2**31 - 1)]


class LengthPenalty(BaseModel):
    """How much longer answers are held against the model."""

    decay_factor: Annotated[float, Field(strict=True, gt=1, allow_inf_nan=False)] | None = None
    start_index: Annotated[int, Field(strict=True, ge=1, le=2**31 - 1)] | None = None


class ReturnOptions(BaseModel):
    """What is to come with an answer."""

    generated_tokens: StrictBool | None = None
    input_parameters: StrictBool | None = None
    input_text: StrictBool | None = None
    input_tokens: StrictBool | None = None
    token_logprobs: StrictBool | None = None
    token_ranks: StrictBool | None = None
    top_n_tokens: Annotated[int, Field(strict=True, ge=0, le=5)] | None = None


class LlmParams(BaseModel):
    """Parameters of a model; keys beyond these are ignored."""

    model_config = ConfigDict(extra="ignore")

    beam_width: Annotated[int, Field(strict=True, ge=0, le=3)] | None = None
    decoding_method: Literal["greedy", "sample"] | None = None
    include_stop_sequence: StrictBool | None = None
    length_penalty: LengthPenalty | None = None
    max_new_tokens: Whole | None = None
    min_new_tokens: Whole | None = None
    random_seed: Annotated[int, Field(strict=True, ge=1, le=4_294_967_295)] | None = None
    repetition_penalty: Annotated[float, Field(strict=True, ge=1, le=2)] | None = None
    return_options: ReturnOptions | None = None
    stop_sequences: Annotated[list[str], Field(min_length=1, max_length=6)] | None = None
    temperature: Annotated[float, Field(strict=True, ge=0, le=2)] | None = None
    time_limit: Annotated[int, Field(strict=True, ge=0, le=2**53)] | None = None
    top_k: Annotated[int, Field(strict=True, ge=1, le=100)] | None = None
    top_p: Annotated[float, Field(strict=True, ge=0, le=1)] | None = None
    truncate_input_tokens: Whole | None = None
    typical_p: Annotated[float, Field(strict=True, ge=0.01, le=1)] | None = None


class _Side(BaseModel):
    enabled: StrictBool = False
    threshold: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.5


class _Mask(BaseModel):
    remove_entity_value: StrictBool = False


class Detector(BaseModel):
    """Where one detector looks, and what it does with what it finds."""

    input: _Side | None = None
    output: _Side | None = None
    mask: _Mask | None = None

    @property
    def is_enabled(self) -> bool:
        return any(side is not None and side.enabled for side in (self.input, self.output))


class Guardrails(BaseModel):
    """The detectors of a run."""

    hap: Detector | None = None
    social_bias: Detector | None = None
    pii: Detector | None = None

    def enabled(self) -> list[str]:
        """The names of the detectors that are to look at anything."""
        detectors = {"hap": self.hap, "social_bias": self.social_bias, "pii": self.pii}
        return [name for name, detector in detectors.items() if detector is not None and detector.is_enabled]

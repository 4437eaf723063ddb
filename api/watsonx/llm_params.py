"""What a caller may ask of a model."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, StrictBool

Whole = Annotated[int, Field(strict=True, ge=0, le=2**31 - 1)]


class LengthPenalty(BaseModel):
    """The penalty for long answers."""

    decay_factor: Annotated[float, Field(strict=True, gt=1, allow_inf_nan=False)] | None = None
    start_index: Annotated[int, Field(strict=True, ge=1, le=2**31 - 1)] | None = None


class ReturnOptions(BaseModel):
    """What an answer of the model includes."""

    generated_tokens: StrictBool | None = None
    input_parameters: StrictBool | None = None
    input_text: StrictBool | None = None
    input_tokens: StrictBool | None = None
    token_logprobs: StrictBool | None = None
    token_ranks: StrictBool | None = None
    top_n_tokens: Annotated[int, Field(strict=True, ge=0, le=5)] | None = None


class LlmParams(BaseModel):
    """Parameters of a model."""

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

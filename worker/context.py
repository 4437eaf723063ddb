"""From a claimed run to what its executor gets."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from shared.artifacts import decode_text
from shared.errors import UserNotFoundError
from shared.events.earlier import NOTHING, Earlier, earlier_attempts
from shared.keys.service import create_run_key
from shared.models import UNSERVED_LISTS, Assistant, JsonObject, Run, Structure
from shared.rulesets.queries import rules_in_force
from shared.settings import Settings
from shared.structures.queries import structures_among
from shared.structures.variables import VariableRule
from shared.terms import ModelRules
from shared.threads.queries import recent_exchanges
from worker.cancellation import CancelToken
from worker.executors.base import (
    CallableStructure,
    Exchange,
    InvalidConfigurationError,
    LogLine,
    Program,
    Rule,
    Ruleset,
    RunContext,
)

CallStructure = Callable[[uuid.UUID, Sequence[str]], JsonObject]
"""Runs a structure with arguments and returns its output; raises RunStopped once the caller is to stop."""

KeepLines = Callable[[Sequence[tuple[str, str]]], None]
"""Stores lines of output, each with its stream; raises RunStopped once the run is no longer the attempt's."""


@dataclass(frozen=True, slots=True)
class ClaimedStructure:
    """What is read of a structure run's program."""

    organization_id: uuid.UUID
    code: JsonObject
    config_file: str | None
    env_vars: tuple[JsonObject, ...]  # a later one overrides an earlier one
    api_key: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """What is read of a run once it is claimed."""

    run_id: uuid.UUID
    organization_id: uuid.UUID
    attempt: int
    assistant_id: uuid.UUID | None
    name: str  # the assistant's or the structure's
    input: str | None
    args: tuple[str, ...]
    model: str | None
    stream: bool
    max_duration: timedelta | None  # as the run itself says
    rulesets: tuple[Ruleset, ...]
    history: tuple[Exchange, ...]
    history_left_out: int
    llm_params: JsonObject
    guardrails: JsonObject
    structure: ClaimedStructure | None
    callable_structures: tuple[tuple[uuid.UUID, str, str], ...]  # id, name, description
    unserved: tuple[str, ...]  # lists of resources that do not exist here, if any is named
    earlier: Earlier = NOTHING


def load_claimed(session: Session, run_id: uuid.UUID, settings: Settings) -> Claimed:
    """Read what the execution of a run needs; a structure run gets its key.

    Of its thread, the newest messages are read, as many as `history_messages` and `history_bytes` say.

    Raises:
        InvalidConfigurationError: there is nobody in whose name a program could act.
    """
    run = session.get_one(Run, run_id)
    structure = None if run.structure_id is None else session.get_one(Structure, run.structure_id)
    assistant = None if run.assistant_id is None else session.get_one(Assistant, run.assistant_id)
    owner = structure or assistant
    history, left_out = _history(session, run, settings)
    return Claimed(
        run_id=run.id,
        organization_id=run.organization_id,
        attempt=run.attempt,
        assistant_id=run.assistant_id,
        name="" if owner is None else owner.name,
        input=run.input,
        args=tuple(run.args),
        model=run.model,
        stream=run.stream,
        max_duration=run.max_duration,
        rulesets=_rulesets(session, run),
        history=history,
        history_left_out=left_out,
        llm_params=run.llm_params or {},
        guardrails=run.guardrails or {},
        structure=None if structure is None else _claimed_structure(session, run, structure),
        callable_structures=_callable_structures(session, run),
        unserved=tuple(name for name in UNSERVED_LISTS if getattr(run, name)),
        earlier=earlier_attempts(session, run),
    )


def _callable_structures(session: Session, run: Run) -> tuple[tuple[uuid.UUID, str, str], ...]:
    found = structures_among(session, run.structure_ids, organization_id=run.organization_id)
    present = (found[structure_id] for structure_id in run.structure_ids if structure_id in found)
    return tuple((structure.id, structure.name, structure.description) for structure in present)


def _claimed_structure(session: Session, run: Run, structure: Structure) -> ClaimedStructure:
    try:
        api_key = create_run_key(session, run)
    except UserNotFoundError as gone:
        raise InvalidConfigurationError(
            "Who created the run no longer belongs to its organization, so the program can have no key."
        ) from gone
    return ClaimedStructure(
        organization_id=run.organization_id,
        code=structure.code,
        config_file=structure.structure_config_file,
        env_vars=(*structure.env_vars, *(run.env_vars or ())),
        api_key=api_key,
    )


def _rulesets(session: Session, run: Run) -> tuple[Ruleset, ...]:
    found = rules_in_force(session, run.ruleset_ids, organization_id=run.organization_id)
    return tuple(
        Ruleset(name, tuple(Rule(rule_name, text) for rule_name, text in rules)) for name, rules in found
    )


def _history(session: Session, run: Run, settings: Settings) -> tuple[tuple[Exchange, ...], int]:
    """The newest exchanges of the run's thread, and how many there are before them."""
    if run.thread_id is None:
        return (), 0
    recent = recent_exchanges(
        session,
        run.thread_id,
        max_messages=settings.history_messages,
        max_bytes=settings.history_bytes,
    )
    exchanges = tuple(Exchange(decode_text(asked), decode_text(said)) for asked, said in recent.exchanges)
    return exchanges, recent.left_out


@dataclass(frozen=True, slots=True)
class Means:
    """What an attempt can do for its executor."""

    keep_lines: KeepLines
    call_structure: CallStructure


def build_context(settings: Settings, claimed: Claimed, token: CancelToken, means: Means) -> RunContext:
    """Make the executor's frozen view of a run; the worker's default model fills in for none.

    Raises:
        InvalidConfigurationError: a variable of the program cannot be given to it; or the operator does
            not allow the model, which the API could not know or did not have to.
    """
    model = claimed.model or settings.model
    if claimed.structure is None:
        refusal = ModelRules.parse(settings.models).refusal(claimed.organization_id, model)
        if refusal is not None:
            raise InvalidConfigurationError(refusal)
    return RunContext(
        run_id=claimed.run_id,
        assistant_id=claimed.assistant_id,
        assistant_name=claimed.name,
        attempt=claimed.attempt,
        model=model,
        input=claimed.input,
        args=claimed.args,
        stream=claimed.stream,
        rulesets=claimed.rulesets,
        history=claimed.history,
        history_left_out=claimed.history_left_out,
        max_duration=claimed.max_duration or settings.max_duration,
        token=token,
        llm_params=claimed.llm_params,
        guardrails=claimed.guardrails,
        program=program_of(settings, claimed.run_id, claimed.structure, keep_lines=means.keep_lines),
        structures=tuple(
            CallableStructure(name, description, partial(means.call_structure, structure_id))
            for structure_id, name, description in claimed.callable_structures
        ),
        unserved=claimed.unserved,
        options=_options(settings),
    )


def _options(settings: Settings) -> dict[str, Any]:
    """What an operator sets for executors."""
    return {
        "echo_words_per_second": settings.echo_words_per_second,
        "model_patience_seconds": settings.model_patience.total_seconds(),
        "model_silence_seconds": settings.model_silence.total_seconds(),
        "max_steps": settings.model_max_steps,
        "max_tool_output": settings.model_tool_output,
        "model_max_tokens": settings.model_max_tokens,
        "model_window": settings.model_window,
        "model_limits": settings.model_limits,
    }


def program_of(
    settings: Settings, run_id: uuid.UUID, structure: ClaimedStructure | None, *, keep_lines: KeepLines
) -> Program | None:
    """The program of a structure run with its environment (contract: griptape §8.4); None of any other run.

    Raises:
        InvalidConfigurationError: a variable refers to a secret that is not kept here, or would steer what
            executes the program: it was stored before that was refused, or allowed.
    """
    if structure is None:
        return None
    if (refusal := VariableRule.of(settings).first_refusal(structure.env_vars)) is not None:
        raise InvalidConfigurationError(refusal)
    secrets = {"GT_CLOUD_API_KEY": structure.api_key, **dict(map(_variable, structure.env_vars))}
    own = {"GT_CLOUD_STRUCTURE_RUN_ID": str(run_id), "GT_CLOUD_BASE_URL": settings.api_url}

    def write_lines(lines: Sequence[LogLine]) -> None:
        keep_lines([(line.stream.value, line.text) for line in lines])

    return Program(
        structure.organization_id,
        structure.code,
        structure.config_file,
        {**secrets, **own},
        secrets,
        write_lines,
    )


def _variable(variable: JsonObject) -> tuple[str, str]:
    if variable.get("source") == "secret_ref":
        raise InvalidConfigurationError(
            f"The variable {variable['name']} refers to a secret; secrets are not kept here: give its value."
        )
    return variable["name"], variable["value"]

"""From a claimed run to the context of its executor."""

import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, NamedTuple

from sqlalchemy import Uuid, any_, bindparam, func, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from shared.artifacts import decode_text
from shared.errors import UserNotFoundError
from shared.keys.service import create_run_key
from shared.lifecycle import RunStatus
from shared.models import RUNS, UNSERVED_LISTS, Assistant, JsonObject, Run, Structure
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
    JudgeExit,
    Program,
    Rule,
    Ruleset,
    RunContext,
    WriteLines,
)

CallStructure = Callable[[uuid.UUID, Sequence[str]], JsonObject]
"""Runs a structure with arguments and returns its output; raises RunStopped once the token has fired."""


def load_context(
    session: Session,
    run: Run,
    settings: Settings,
    *,
    token: CancelToken,
    write_log: WriteLines,
    judge_exit: JudgeExit,
    call_structure: CallStructure,
) -> RunContext:
    """Read the context of a claimed run. A structure run gets its key.

    A run without a model gets the worker's default. Of the thread, the newest messages are read, at most
    `history_messages` of them and `history_bytes` bytes.

    Raises:
        InvalidConfigurationError: the operator does not allow the model; or the program cannot have a key or
            one of its variables.
        LeaseLostError: the attempt no longer has the run, which is a structure's.
    """
    name, program = "", None
    if run.structure_id is not None:
        structure = session.get_one(Structure, run.structure_id)
        name = structure.name
        program = _program(session, run, structure, settings, write_log=write_log, judge_exit=judge_exit)
    elif run.assistant_id is not None:
        name = session.get_one(Assistant, run.assistant_id).name
    context = _context(run, settings, name=name, attempt=run.attempt, token=token)
    history, history_left_out = _history(session, run, settings)
    rulesets = rules_in_force(session, run.ruleset_ids, organization_id=run.organization_id)
    found = structures_among(session, run.structure_ids, organization_id=run.organization_id)
    return replace(
        context,
        rulesets=tuple(
            Ruleset(name, tuple(Rule(rule, text) for rule, text in rules)) for name, rules in rulesets
        ),
        history=history,
        history_left_out=history_left_out,
        guardrails=run.guardrails or {},
        program=program,
        structures=tuple(
            CallableStructure(one.name, one.description, partial(call_structure, one.id))
            for one in (found[one_id] for one_id in run.structure_ids if one_id in found)
        ),
    )


class PlainRun(NamedTuple):
    """A QUEUED run of an assistant whose context needs nothing but its row and the assistant's name."""

    id: uuid.UUID
    organization_id: uuid.UUID
    assistant_id: uuid.UUID | None
    structure_id: None
    name: str | None
    traceparent: str | None
    queued_at: datetime
    model: str | None
    input: str | None
    args: list[Any]
    stream: bool
    max_duration: timedelta | None
    llm_params: JsonObject | None
    knowledge_base_ids: list[uuid.UUID]
    retriever_ids: list[uuid.UUID]
    tool_ids: list[uuid.UUID]


_PLAIN: Final = (
    select(*(Assistant.name if name == "name" else getattr(Run, name) for name in PlainRun._fields))
    .outerjoin_from(RUNS, Assistant, Assistant.id == Run.assistant_id)
    .where(
        Run.id == any_(bindparam("run_ids", type_=ARRAY(Uuid))),
        Run.status == RunStatus.QUEUED,
        Run.attempt == 0,  # a later attempt reads what the earlier ones have shown
        Run.structure_id.is_(None),
        Run.thread_id.is_(None),
        Run.guardrails.is_(None),
        func.cardinality(Run.ruleset_ids) == 0,
        func.cardinality(Run.structure_ids) == 0,
    )
)


def plain_runs(session: Session, run_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, PlainRun]:
    """Read those of the runs that are plain and in their first attempt's queue, in one statement."""
    rows = session.connection().execute(_PLAIN, {"run_ids": list(run_ids)})
    return {run.id: run for run in map(PlainRun._make, rows)}


def plain_context(run: PlainRun, settings: Settings, *, token: CancelToken) -> RunContext:
    """Return the context of a plain run's first attempt. It reads nothing.

    Raises:
        InvalidConfigurationError: the operator does not allow the model.
    """
    return _context(run, settings, name=run.name or "", attempt=1, token=token)


def _context(
    run: Run | PlainRun, settings: Settings, *, name: str, attempt: int, token: CancelToken
) -> RunContext:
    """Return what the row of a run says of its context."""
    model = run.model or settings.model
    if run.structure_id is None:
        refusal = ModelRules.parse(settings.models).refusal(run.organization_id, model)
        if refusal is not None:
            raise InvalidConfigurationError(refusal)
    return RunContext(
        run_id=run.id,
        assistant_id=run.assistant_id,
        assistant_name=name,
        attempt=attempt,
        model=model,
        input=run.input,
        args=tuple(run.args),
        stream=run.stream,
        max_duration=run.max_duration or settings.max_duration,
        token=token,
        llm_params=run.llm_params or {},
        unserved=tuple(name for name in UNSERVED_LISTS if getattr(run, name)),
        options=executor_options(settings),
    )


def _history(session: Session, run: Run, settings: Settings) -> tuple[tuple[Exchange, ...], int]:
    """The newest exchanges of the run's thread, and the number of those before them."""
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


def executor_options(settings: Settings) -> dict[str, Any]:
    """The operator's settings for executors, by the names in `RunContext.options`."""
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


def _program(
    session: Session,
    run: Run,
    structure: Structure,
    settings: Settings,
    *,
    write_log: WriteLines,
    judge_exit: JudgeExit,
) -> Program:
    """The program of a structure run, with its environment."""
    variables = (*structure.env_vars, *(run.env_vars or ()))  # a later one overrides an earlier one
    # An earlier release may have stored a variable that is refused now, or the operator allowed it then.
    if (refusal := VariableRule.of(settings).first_refusal(variables)) is not None:
        raise InvalidConfigurationError(refusal)
    try:
        api_key = create_run_key(session, run)
    except UserNotFoundError as gone:
        raise InvalidConfigurationError(
            "The creator of the run no longer belongs to its organization, so the program can have no key."
        ) from gone
    secrets = {"GT_CLOUD_API_KEY": api_key}
    for variable in variables:
        if variable.get("source") == "secret_ref":
            raise InvalidConfigurationError(
                f"The variable {variable['name']} refers to a secret; secrets are not kept here:"
                " give its value."
            )
        secrets[variable["name"]] = variable["value"]
    own = {"GT_CLOUD_STRUCTURE_RUN_ID": str(run.id), "GT_CLOUD_BASE_URL": settings.structure_api_url}
    return Program(
        organization_id=run.organization_id,
        code=structure.code,
        config_file=structure.structure_config_file,
        env={**secrets, **own},
        secrets=secrets,
        write_log=write_log,
        judge_exit=judge_exit,
        has_earlier_lines=run.attempt > 1 and run.log_count > 0,
    )

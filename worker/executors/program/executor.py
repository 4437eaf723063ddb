"""The executor of structure runs: a program is a process within limits, in a sandbox."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from shared.setting_types import names_of
from shared.settings import Settings
from shared.structures.allowed import Allowed, AllowListError
from shared.structures.sandbox import Mode, Sandbox, choose
from worker.executors.base import (
    Emit,
    Executor,
    InvalidConfigurationError,
    LogLine,
    LogStream,
    Outcome,
    PlatformError,
    Program,
    RunContext,
)
from worker.executors.policy import Blame, Policy, with_policy
from worker.executors.program.finish import LIMIT, NOT_POSTED
from worker.executors.program.holding import Holder
from worker.executors.program.homes import Home
from worker.executors.program.runner import Job, Limits, run_program
from worker.executors.program.sources import Sources, Start, prepare
from worker.executors.program.workdirs import made_workdir
from worker.redaction import secrets_among

BEFORE_START: Final = ("PATH", "LANG", "LC_ALL", "TZ")
"""The variables of the worker's environment that a program's interpreter is started with."""

TRUST: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")

INHERITED: Final = (*BEFORE_START, *TRUST, "PYTHONPATH")
"""The variables of the worker's environment that every program gets; none is secret."""

SAMPLE_READS: Final = (
    "WORDS_PER_SECOND",
    "GT_CLOUD_API_KEY",
    "GT_CLOUD_BASE_URL",
    "GT_CLOUD_STRUCTURE_RUN_ID",
)
"""The only variables that the sample gets, of the caller's and the platform's."""

POLICY: Final = Policy(blame=Blame.PLATFORM, cooperative_share=1.0, stop_margin=4.0)
"""A program has the whole grace before it is killed; the margin is for the kill. Its own errors are its
exit code: an exception beside it is the platform's."""


def make_executor(settings: Settings) -> Executor:
    """Make the executor of structure runs, within the operator's limits."""
    limits = Limits(
        memory=settings.structure_memory,
        cpu=settings.structure_cpu,
        file_size=settings.structure_file_size,
        processes=settings.structure_processes,
        log_bytes=settings.structure_log,
        grace=settings.cancel_grace,
    )
    inherited = (*INHERITED, *names_of(settings.structure_env))

    def execute(context: RunContext, _emit: Emit) -> Outcome:
        program = context.program
        if program is None:
            raise InvalidConfigurationError("Only structure runs have a program to execute.")
        own = {name: os.environ[name] for name in inherited if name in os.environ}
        if program.has_earlier_lines:
            text = f"[Begun again, as attempt {context.attempt}: the lines above do not count.]"
            program.write_log([LogLine(LogStream.STDERR, text)])
        with made_workdir() as workdir:
            home = workdir / "home"
            home.mkdir()
            start = prepare(
                _sources(settings),
                program.code,
                program.config_file,
                context.args,
                home=home,
                organization_id=program.organization_id,
            )
            ended = run_program(
                _job(start, program, own, workdir, output_bytes=settings.structure_output),
                mark=f"{context.run_id}/{context.attempt}",
                holder=_holder(settings, own, program, is_sample=start.is_sample),
                secrets={**secrets_among(own), **program.secrets},
                workdir=workdir,
                limits=limits,
                token=context.token,
                write_lines=program.write_log,
            )
            if start.posts_output and ended.exit_code == NOT_POSTED:
                raise PlatformError(ended.last_error_line or ended.message)
            return program.judge_exit(ended)

    return with_policy(execute, POLICY)


def _sources(settings: Settings) -> Sources:
    try:
        return Sources(settings.structures_dir, Allowed.of(settings))
    except AllowListError as error:
        raise InvalidConfigurationError(f"What structures may execute cannot be read: {error}") from error


def _job(start: Start, program: Program, own: Mapping[str, str], workdir: Path, *, output_bytes: int) -> Job:
    """Make the job of a program; the sample gets only the variables that it reads."""
    if start.is_sample:
        variables = {name: program.env[name] for name in SAMPLE_READS if name in program.env}
    else:
        home = {"HOME": str(workdir / "home"), "TMPDIR": str(workdir / "tmp"), "PYTHONUNBUFFERED": "1"}
        variables = {**own, **home, **program.env}
    return Job(
        start.arguments,
        start.directory,
        {**variables, LIMIT: str(output_bytes)},
        environment={name: own[name] for name in BEFORE_START if name in own},
        path=start.path,
    )


def _holder(settings: Settings, own: Mapping[str, str], program: Program, *, is_sample: bool) -> Holder:
    """Make the holder of a program.

    Without a sandbox the sample is executed nevertheless: it is our own code, prints its arguments, and gets
    no variable that it does not read, so its caller executes nothing of their own.

    Raises:
        InvalidConfigurationError: there is no sandbox, and the operator has not allowed programs without one.
    """
    choice = choose(settings)
    if choice.sandbox is None and not is_sample:
        raise InvalidConfigurationError(choice.why_not)
    homes = None if is_sample else settings.structure_home
    return Holder(
        choice.sandbox or Sandbox(Mode.NONE),
        first_uid=settings.structure_uid,
        uids=settings.structure_uids,
        paths=(
            *(Path(path).absolute() for path in names_of(settings.structure_paths)),
            *(Path(own[name]).absolute() for name in TRUST if own.get(name)),
        ),
        memory=settings.structure_memory,
        home=None if homes is None else Home(homes.absolute(), program.organization_id),
    )

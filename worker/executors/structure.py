"""Executes a structure run: its program, as a process of its own within limits, in a sandbox."""

import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from shared.settings import Settings, names_of
from shared.structures.allowed import Allowed, AllowListError
from shared.structures.sandbox import Mode, Sandbox, choose
from worker.executors.base import (
    Emit,
    Executor,
    InvalidConfigurationError,
    Outcome,
    PlatformError,
    Program,
    RunContext,
)
from worker.redaction import secrets_among
from worker.structures.finish import LIMIT, NOT_TOLD
from worker.structures.holding import Holder
from worker.structures.homes import Home
from worker.structures.process import Job, Limits, run_program
from worker.structures.sources import Sources, Start, prepare

BEFORE_START: Final = ("PATH", "LANG", "LC_ALL", "TZ")
"""What the interpreter of a program is started with of the worker's environment."""

TRUST: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")

INHERITED: Final = (*BEFORE_START, *TRUST, "PYTHONPATH")
"""What a program gets of the worker's environment, whatever the operator adds; none of it is secret."""

SAMPLE_READS: Final = (
    "WORDS_PER_SECOND",
    "GT_CLOUD_API_KEY",
    "GT_CLOUD_BASE_URL",
    "GT_CLOUD_STRUCTURE_RUN_ID",
)
"""All that the sample gets of a caller's variables and of the platform's."""


def make_executor(settings: Settings) -> Executor:
    """The executor of structure runs, within an operator's limits."""
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
        with TemporaryDirectory(prefix="runyard-", ignore_cleanup_errors=True) as directory:
            place = Path(directory)
            home = place / "home"
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
                _job(start, program, own, place, output_bytes=settings.structure_output),
                mark=f"{context.run_id}/{context.attempt}",
                holder=_holder(
                    settings, own, is_sample=start.is_sample, home=_lasting_home(settings, program)
                ),
                secrets={**secrets_among(own), **program.secrets},
                place=place,
                limits=limits,
                token=context.token,
                write_lines=program.write_lines,
            )
            if start.tells_output and ended.exit_code == NOT_TOLD:
                raise PlatformError(ended.last_words or ended.message)
            return ended

    return execute


def _sources(settings: Settings) -> Sources:
    try:
        return Sources(settings.structures_dir, Allowed.of(settings))
    except AllowListError as error:
        raise InvalidConfigurationError(f"What structures may execute cannot be read: {error}") from error


def _job(start: Start, program: Program, own: Mapping[str, str], place: Path, *, output_bytes: int) -> Job:
    """What a program is started with; of the sample's caller only what the sample reads."""
    if start.is_sample:
        variables = {name: program.env[name] for name in SAMPLE_READS if name in program.env}
    else:
        variables = {**own, **_home(place), **program.env}
    return Job(
        start.arguments,
        start.directory,
        {**variables, LIMIT: str(output_bytes)},
        environment={name: own[name] for name in BEFORE_START if name in own},
        path=start.path,
    )


def _home(place: Path) -> Mapping[str, str]:
    return {"HOME": str(place / "home"), "TMPDIR": str(place / "tmp"), "PYTHONUNBUFFERED": "1"}


def _lasting_home(settings: Settings, program: Program) -> Home | None:
    directory = settings.structure_home
    return None if directory is None else Home(directory.absolute(), program.organization_id)


def _holder(settings: Settings, own: Mapping[str, str], *, is_sample: bool, home: Home | None) -> Holder:
    """What holds a program.

    Where there is no sandbox, the sample is executed nevertheless: it is our own, takes its arguments as
    words to print and no variable that it does not read, so that its caller executes nothing by it.

    Raises:
        InvalidConfigurationError: there is no sandbox, and it was not asked to do without.
    """
    choice = choose(settings)
    if choice.sandbox is None and not is_sample:
        raise InvalidConfigurationError(choice.why_not)
    return Holder(
        choice.sandbox or Sandbox(Mode.NONE),
        first_uid=settings.structure_uid,
        uids=settings.structure_uids,
        paths=(
            *map(Path, names_of(settings.structure_paths)),
            *(Path(own[name]) for name in TRUST if own.get(name)),
        ),
        memory=settings.structure_memory,
        home=None if is_sample else home,
    )

"""Executes a structure run: its program, as a process of its own within limits."""

import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from shared.settings import Settings, names_of
from worker.executors.base import Emit, Executor, InvalidConfigurationError, Outcome, RunContext
from worker.redaction import secrets_among
from worker.structures.process import Limits, run_program
from worker.structures.sources import Sources, prepare

INHERITED: Final = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
"""What a program gets of the worker's environment, whatever the operator adds; none of it is secret."""


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
    sources = Sources(settings.structures_dir, frozenset(names_of(settings.structure_callables)))
    inherited = (*INHERITED, *names_of(settings.structure_env))

    def execute(context: RunContext, _emit: Emit) -> Outcome:
        program = context.program
        if program is None:
            raise InvalidConfigurationError("Only structure runs have a program to execute.")
        with TemporaryDirectory(prefix="runyard-", ignore_cleanup_errors=True) as directory:
            place = Path(directory)
            start = prepare(sources, program.code, program.config_file, context.args, place)
            own = {name: os.environ[name] for name in inherited if name in os.environ}
            return run_program(
                start.command,
                env={**own, **_home(place), **program.env},
                secrets={**secrets_among(own), **program.secrets},
                place=place,
                cwd=start.directory,
                limits=limits,
                token=context.token,
                write_lines=program.write_lines,
            )

    return execute


def _home(place: Path) -> Mapping[str, str]:
    return {"HOME": str(place), "TMPDIR": str(place), "PYTHONUNBUFFERED": "1"}

"""The processes `runyard dev` starts: command, environment, and the time each has to stop."""

import os
import re
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from shared.cli import flower
from shared.processes import child
from shared.processes.hidden import hidden_module
from shared.settings import Settings
from shared.stack import Program

DRAIN_GRACE: Final = "3"  # seconds, unless set: whoever stops `dev` is waiting
WORKER_PATIENCE: Final = 8.0  # seconds; all of it, with the servers, has to be over within 15
PATIENCE: Final = 1.5  # seconds


KEPT: Final = re.compile(
    r"RUNYARD_.*|FLOWER_.*|PG.*|PYTHON.*|LC_.*|COVERAGE_.*|SSL_CERT_(?:FILE|DIR)"
    r"|HOME|LANG|LANGUAGE|LD_LIBRARY_PATH|LOGNAME|PATH|SHELL|TEMP|TERM|TMP|TMPDIR|TZ|USER|VIRTUAL_ENV"
)
"""The variables of the user that processes without models get.

A list of what they can use, not of secrets: keys of providers go by too many names.
"""

FOR_COMMANDS: Final = frozenset({"RUNYARD_API_KEY", "RUNYARD_MIGRATION_DATABASE_URL"})
"""What no process that is started gets: the command line alone uses it."""


def without_foreign_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment less what only workers need, above all the keys of model providers."""
    return {name: value for name, value in environment.items() if KEPT.fullmatch(name)}


def shared_environment(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """What all of the processes are told, on top of the user's own environment."""
    return {
        "RUNYARD_DRAIN_GRACE": DRAIN_GRACE,
        "RUNYARD_LOG_FORMAT": "console",
        "PYTHONUNBUFFERED": "1",
        **{name: value for name, value in environment.items() if name not in FOR_COMMANDS},
        "RUNYARD_DATABASE_URL": settings.database_url.get_secret_value(),
        "RUNYARD_REDIS_URL": settings.redis_url.get_secret_value(),
        "RUNYARD_API_HOST": settings.api_host,
        "RUNYARD_API_PORT": str(settings.api_port),
        "RUNYARD_API_URL": settings.api_url,
    }


def make_programs(
    settings: Settings, logs: Path, *, concurrency: int | None, processes: int | None
) -> dict[str, Program]:
    """The API, the worker, the reconciler and Flower, not started yet."""
    environment = shared_environment(settings, os.environ)
    bare = without_foreign_secrets(environment)
    chosen = {"--concurrency": concurrency, "--processes": processes}
    options = [word for name, value in chosen.items() if value is not None for word in (name, str(value))]
    commands = {
        "api": (hidden_module("api"), bare, PATIENCE),
        "flower": (list(flower.COMMAND), flower.flower_environment(settings, bare), PATIENCE),
        "reconciler": (hidden_module("worker.reconciler"), bare, PATIENCE),
        "worker": ([*hidden_module("worker"), *options], environment, WORKER_PATIENCE),
    }
    return {
        name: _program(name, arguments, variables, logs=logs, patience=patience)
        for name, (arguments, variables, patience) in commands.items()
    }


def _program(
    name: str, arguments: list[str], environment: Mapping[str, str], *, logs: Path, patience: float
) -> Program:
    log_path = logs / f"{name}.log"
    child.set_aside(log_path)
    command = child.Command(arguments=arguments, log_path=log_path, environment=environment)
    return Program(name, command, ladder=((signal.SIGTERM, patience),))

"""The processes of `runyard dev`: command, environment, and stop timeout of each."""

import os
import re
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cli.local import flower
from cli.local.processes import child
from cli.local.stack import Program
from shared.processes import pulse
from shared.processes.hidden import hidden_module
from shared.settings import Settings
from shared.workers import command_line

DRAIN_GRACE: Final = "3"  # seconds, unless set: a person waits for the end of `dev`
WORKER_STOP_TIMEOUT: Final = 8.0  # seconds; with the servers, a stop takes at most 15
STOP_TIMEOUT: Final = 1.5  # seconds


KEPT: Final = re.compile(
    r"RUNYARD_.*|FLOWER_.*|PG.*|PYTHON.*|LC_.*|COVERAGE_.*|SSL_CERT_(?:FILE|DIR)"
    r"|HOME|LANG|LANGUAGE|LD_LIBRARY_PATH|LOGNAME|PATH|SHELL|TEMP|TERM|TMP|TMPDIR|TZ|USER|VIRTUAL_ENV"
)
"""The user's variables for processes that call no models.

This lists the allowed names rather than secrets: keys of providers have too many names.
"""

MEASURED: Final = ("api", "worker", "reconciler")
"""The programs with metrics of their own."""

FOR_COMMANDS: Final = frozenset(
    {
        "RUNYARD_API_KEY",
        "RUNYARD_API_URL",
        "RUNYARD_MIGRATION_DATABASE_URL",
        "RUNYARD_MIGRATION_DATABASE_URL_FILE",
    }
)
"""Variables that only the command line uses; no process gets them."""

REPLACED: Final = frozenset({"RUNYARD_DATABASE_URL_FILE", "RUNYARD_REDIS_URL_FILE"})
"""Variables whose content every process gets by another one."""


def without_foreign_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without the variables that only workers need, above all keys of model providers."""
    return {name: value for name, value in environment.items() if KEPT.fullmatch(name)}


def shared_environment(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of all processes: the user's, with the settings of this stack."""
    return {
        "RUNYARD_DRAIN_GRACE": DRAIN_GRACE,
        "RUNYARD_LOG_FORMAT": "console",
        "PYTHONUNBUFFERED": "1",
        **{name: value for name, value in environment.items() if name not in FOR_COMMANDS | REPLACED},
        "RUNYARD_DATABASE_URL": settings.database_url.get_secret_value(),
        "RUNYARD_REDIS_URL": settings.redis_url.get_secret_value(),
        "RUNYARD_API_HOST": settings.api_host,
        "RUNYARD_API_PORT": str(settings.api_port),
        "RUNYARD_STRUCTURE_API_URL": settings.structure_api_url,
    }


def make_programs(
    settings: Settings,
    logs: Path,
    *,
    concurrency: int | None,
    processes: int | None,
    metrics_ports: Mapping[str, int] | None = None,
) -> dict[str, Program]:
    """Return the API, the worker, the reconciler and Flower, not started yet.

    Args:
        metrics_ports: the port of each program's metrics, for those of `MEASURED` that are to have them.
    """
    environment = shared_environment(settings, os.environ)
    environment.setdefault(pulse.DIRECTORY, str(logs.parent.absolute() / "health"))
    bare = without_foreign_secrets(environment)
    options = command_line(concurrency=concurrency, processes=processes or 1)
    commands = {
        "api": (hidden_module("api"), bare, STOP_TIMEOUT),
        "flower": (list(flower.COMMAND), flower.flower_environment(settings, bare), STOP_TIMEOUT),
        "reconciler": (hidden_module("worker.reconciler.reconciler"), bare, STOP_TIMEOUT),
        "worker": ([*hidden_module("worker"), *options], environment, WORKER_STOP_TIMEOUT),
    }
    programs = {}
    for name, (arguments, variables, stop_timeout) in commands.items():
        log_path = logs / f"{name}.log"
        child.set_aside(log_path)
        port = (metrics_ports or {}).get(name)
        own = {} if port is None else {"RUNYARD_METRICS_PORT": str(port)}
        command = child.Command(arguments=arguments, log_path=log_path, environment={**variables, **own})
        programs[name] = Program(name, command, stop_sequence=((signal.SIGTERM, stop_timeout),))
    return programs

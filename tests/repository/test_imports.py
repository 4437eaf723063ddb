"""What a module loads when it is imported: a process starts with what it needs and no more."""

import subprocess
import sys

import pytest

ADDRESSES = {"RUNYARD_DATABASE_URL": "postgresql://h/d", "RUNYARD_REDIS_URL": "redis://h"}
FRAMEWORKS = ("griptape", "openai", "anthropic")

STRANGERS = {
    "api.app": ("alembic", "flower", "typer", "worker", *FRAMEWORKS),
    "cli.main": ("alembic", "celery", "fastapi", "psycopg", "pydantic", "redis", "sqlalchemy", *FRAMEWORKS),
    "runyard.executors": ("celery", "fastapi", "redis", *FRAMEWORKS),
    "runyard.guardrails": ("celery", "fastapi", "redis", *FRAMEWORKS),
    "worker.__main__": ("alembic", "celery", "fastapi", "flower", "redis", "typer", *FRAMEWORKS),
    "worker.app": ("alembic", "fastapi", "typer", *FRAMEWORKS),
    "worker.executors.registry": FRAMEWORKS,
    "worker.reconciler.reconciler": ("alembic", "fastapi", "flower", "typer", "worker.attempt", *FRAMEWORKS),
}
"""A module that is imported first by somebody, and what only others need."""


@pytest.mark.parametrize("module", STRANGERS)
def test_a_module_loads_nothing_that_only_others_need_and_connects_to_nothing(module):
    code = (
        f"import socket, sys; socket.socket.connect = None; import {module}; "
        f"print([name for name in {STRANGERS[module]} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=ADDRESSES, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"

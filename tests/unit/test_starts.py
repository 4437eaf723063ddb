"""What starting a process costs: what it imports, and what an application makes anew."""

import subprocess
import sys

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from fastapi import routing

from api.app import create_app
from shared.migrations.schema import REVISIONS
from shared.settings import Settings

ADDRESSES = {"RUNYARD_DATABASE_URL": "postgresql://h/d", "RUNYARD_REDIS_URL": "redis://h"}
FRAMEWORKS = ("griptape", "openai", "anthropic")


@pytest.mark.parametrize(
    ("module", "strangers"),
    [
        (
            "cli.main",
            ("alembic", "celery", "fastapi", "psycopg", "pydantic", "redis", "sqlalchemy", *FRAMEWORKS),
        ),
        ("worker.__main__", ("alembic", "celery", "fastapi", "flower", "redis", "typer", *FRAMEWORKS)),
        (
            "worker.reconciler.reconciler",
            ("alembic", "fastapi", "flower", "typer", "worker.attempt", *FRAMEWORKS),
        ),
    ],
)
def test_a_process_imports_nothing_that_only_others_need(module, strangers):
    code = f"import sys, {module}; print([name for name in {strangers} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=ADDRESSES, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_an_application_analyses_no_endpoint_that_another_has_analysed(monkeypatch):
    """The tests make more than a thousand, and one took a third of a second of CPU."""
    settings = Settings(database_url="postgresql://h/d", redis_url="redis://h")
    create_app(settings)

    def analyse(*_args, **_options):
        raise AssertionError("an endpoint is analysed anew")

    monkeypatch.setattr(routing, "get_dependant", analyse)
    create_app(settings)


def test_the_known_revisions_are_those_of_the_migrations():
    config = Config()
    config.set_main_option("script_location", "shared:migrations")
    scripts = ScriptDirectory.from_config(config)
    assert tuple(script.revision for script in scripts.walk_revisions())[::-1] == REVISIONS
    assert scripts.get_heads() == [REVISIONS[-1]]

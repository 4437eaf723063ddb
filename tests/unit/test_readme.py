"""README.md agrees with the code."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from api.app import create_app
from shared.cli.main import COMMANDS
from shared.cli.runs import EXIT_CODES
from shared.settings import Settings

ROOT = Path(__file__).parents[2]
NOWHERE = Settings.model_validate({"database_url": "postgresql://h/d", "redis_url": "redis://h"})
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_generated_parts_are_as_the_code_has_them():
    check = subprocess.run(
        [sys.executable, ROOT / "scripts" / "render.py", "--check"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert check.returncode == 0, check.stderr


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_every_link_leads_somewhere(target: str):
    assert (ROOT / target).exists()


def test_the_map_shows_every_folder():
    map_ = README.partition("## Map")[2].partition("## ")[0]
    shown = set(re.findall(r"^\| \[(\w+)/\]", map_, re.MULTILINE))
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and re.match(r"[a-z]", path.name)}
    assert shown == folders - {"build", "dist"}


def test_every_command_it_names_exists():
    named = set(re.findall(r"\brunyard ([a-z]+)\b", README))
    assert named
    assert named <= set(COMMANDS)


def test_every_target_it_names_is_in_the_makefile():
    named = set(re.findall(r"\bmake ([a-z]+)\b", README))
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {"demo", "test", "check", "dev"} <= named
    assert named <= targets


def test_every_variable_it_names_is_a_setting():
    table = README.partition("settings:start")[2].partition("settings:end")[0]
    elsewhere = README.replace(table, "")
    of_the_command_line = {"RUNYARD_API_URL", "RUNYARD_API_KEY"}
    named = set(re.findall(r"RUNYARD_[A-Z_]+", elsewhere)) - of_the_command_line
    assert named <= set(re.findall(r"RUNYARD_[A-Z_]+", table))


def test_it_tells_every_exit_code_of_a_run():
    told = dict(re.findall(r"(\d) `([A-Z]+)`", README))
    assert told == {str(code): status for status, code in EXIT_CODES.items()}


def test_it_tells_every_call_of_the_api():
    table = README.partition("## The API")[2].partition("## ")[0]
    told = {
        (method, path)
        for methods, path in re.findall(r"`([A-Z ]+) (/[^`]*)`", table)
        for method in methods.split()
    }
    paths = create_app(NOWHERE).openapi()["paths"]
    served = {
        (method.upper(), re.sub(r"\{\w+\}", "{id}", path.removeprefix("/api")))
        for path, methods in paths.items()
        if path.startswith("/api/")
        for method in methods
    }
    assert told == served

"""The check of the manual: it passes as the manual is, and fails for what it is there to find."""

import math
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from api.traffic.lanes import largest_report
from shared.settings import Settings
from tests.support.checkout import ROOT

BIN = Path(sys.executable).parent


@pytest.fixture
def build(tmp_path):
    """Build a copy of the manual as `make docs` does; return the exit code."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    (line,) = re.findall(r"\$\(BIN\)/(mkdocs .*)", (ROOT / "Makefile").read_text(encoding="utf-8"))

    def build():
        command = [str(BIN / word) if word == "mkdocs" else word for word in shlex.split(line)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode

    return build


def test_a_proxy_set_up_as_the_manual_says_passes_on_the_largest_report():
    settings = Settings(database_url="postgresql://h/d", redis_url="redis://h")
    said = f"`client_max_body_size {math.ceil(largest_report(settings) / 2**20)}m;`"
    assert said in (ROOT / "docs" / "deploying.md").read_text(encoding="utf-8")


def test_the_manual_is_built(build):
    assert build() == 0


@pytest.mark.parametrize(
    "wrong", ["[x](nowhere.md)", "[x](promises.md#no-such-heading)", "[x](operating.md#doctor)"]
)
def test_a_dead_link_or_a_missing_anchor_fails(build, tmp_path, wrong):
    with (tmp_path / "docs" / "quickstart.md").open("a", encoding="utf-8") as page:
        page.write(f"\n{wrong}\n")
    assert build() != 0


def test_a_page_that_is_in_no_list_or_not_there_fails(build, tmp_path):
    (tmp_path / "docs" / "guardrails.md").rename(tmp_path / "docs" / "unlisted.md")
    assert build() != 0


FILES = re.findall(
    r"```python\n# (\S+\.py)\n(.*?)```",
    (ROOT / "docs" / "extending.md").read_text(encoding="utf-8"),
    re.DOTALL,
)


@pytest.mark.parametrize(("name", "code"), FILES, ids=[name for name, _ in FILES])
def test_a_file_that_the_manual_shows_passes_the_checks_of_the_code(name, code):
    code = f'"""Shown by the manual."""\n\n{code}'
    for command in (["check", "--ignore=INP001"], ["format", "--check"]):  # its folder is not here
        done = subprocess.run(
            [BIN / "ruff", *command, f"--stdin-filename={name}", "-"],
            input=code,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

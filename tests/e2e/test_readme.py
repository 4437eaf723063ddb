"""The commands of README.md and docs/: each `sh` block is pasted into bash, against a running system."""

import filecmp
import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.checkout import ROOT, STRUCTURES

PAGES = {page.stem: page for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]}

pytestmark = pytest.mark.timeout(300)


def blocks_of(page, language="sh"):
    text = PAGES[page].read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def has_a_test_of_its_own(block):
    """Whether it is for a terminal of its own, a target of the Makefile, or changes the installation.

    What the manual has one install is executed by tests/integration/runyard.
    """
    return re.search(r"\bmake [a-z]+|\bpip install\b", block) is not None


def pasted(page):
    return [block for block in blocks_of(page) if not has_a_test_of_its_own(block)]


def statuses(output):
    return re.findall(r'"status":"([A-Z]+)"', output.replace(" ", ""))


WITH_COMMANDS = sorted(page for page in PAGES if pasted(page))

(DEFINITIONS,) = [block for block in pasted("quickstart") if "call()" in block]


@pytest.fixture(scope="module")
def folder(stack, tmp_path_factory):
    """A folder that looks like the checkout in which `make dev` runs."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / ".runyard").symlink_to(stack.data_dir)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


@pytest.fixture(scope="module")
def output_of(folder):
    """Execute the blocks of a page in bash, once; a refused request ends the script."""

    @functools.cache
    def output_of(page):
        script = "\n".join(["set -e -o pipefail", DEFINITIONS, *pasted(page)])
        ended = subprocess.run(
            ["bash", "-c", script.replace("curl -sS", "curl -sS --fail-with-body")],  # noqa: S607  # whatever bash
            cwd=folder,
            env={"PATH": os.defpath, "HOME": str(folder)},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
        return ended.stdout

    return output_of


def test_the_pages_with_commands_are_known():
    assert set(WITH_COMMANDS) == {
        "README",
        "quickstart",
        "griptape-api",
        "watsonx-api",
        "structures",
        "guardrails",
    }


@pytest.mark.parametrize("page", WITH_COMMANDS)
def test_every_command_of_a_page_succeeds(output_of, page):
    said = output_of(page)
    assert '"errors"' not in said
    assert '"detail"' not in said


def test_the_definitions_of_the_readme_are_those_of_the_quickstart():
    assert DEFINITIONS in pasted("README")


def test_the_structures_of_it_succeed(output_of):
    ended = statuses(output_of("structures"))
    assert ended.count("SUCCEEDED") >= 4
    assert not {"FAILED", "ERROR"} & set(ended)


def test_the_readme_cancels_a_run_for_good(output_of):
    cancelled, read = statuses(output_of("README"))[-2:]
    assert cancelled == read
    assert read in {"CANCELLED", "SUCCEEDED"}  # a loaded machine may cancel after the end


def test_the_folder_that_it_has_one_make_is_the_one_of_the_tests(tmp_path):
    (block,) = [block for block in blocks_of("structures") if "mkdir" in block]
    *making, starting = block.splitlines()
    assert "make dev" in starting
    subprocess.run(["bash", "-ec", "\n".join(making)], cwd=tmp_path, check=True)  # noqa: S607  # whatever there is
    mine = filecmp.dircmp(tmp_path / "structures" / "mine", STRUCTURES / "mine", ignore=["__pycache__"])
    assert (mine.left_only, mine.right_only, mine.diff_files) == ([], [], [])
    assert mine.common_files


def test_the_example_of_the_frameworks_drivers_works(stack, folder):
    (example,) = [block for block in blocks_of("griptape-api", "python") if "AssistantDriver" in block]
    rule = stack.client.post("/api/rules", json={"name": "Brevity", "rule": "Answer shortly."}).json()
    ruleset = stack.client.post("/api/rulesets", json={"name": "Style", "rule_ids": [rule["rule_id"]]}).json()
    for name, value in (
        ("assistant_id", stack.create_assistant()),
        ("ruleset_id", ruleset["ruleset_id"]),
    ):
        assert f'{name}="…"' in example
        example = example.replace(f'{name}="…"', f'{name}="{value}"')
    ended = subprocess.run(
        [Path(sys.executable), "-c", example],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    answer, conversation, rules = ended.stdout.splitlines()[-3:]
    assert "Why is the sky blue?" in answer
    assert conversation == "['Why is the sky blue?']"
    assert rules == "['Answer shortly.']"

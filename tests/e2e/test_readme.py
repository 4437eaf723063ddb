"""What README.md has people paste: every block of curl is sent, in order, and every answer is a good one."""

import filecmp
import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import STRUCTURES

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = {
    heading: re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    for heading, text in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
}
WALK = "A walk with curl"
SECTIONS = ("Structures: your own code as a run", "The watsonx Orchestrate API")

pytestmark = pytest.mark.timeout(240)


def functions():
    """`field`, and `call` as the walk defines it, but for one that is refused: it ends the script."""
    (block,) = [block for block in BLOCKS[WALK] if "call()" in block]
    defined = [line for line in block.splitlines() if re.match(r"(field|call)\(\)", line)]
    assert len(defined) == 2
    return "\n".join(defined).replace("curl -sS", "curl -sS --fail-with-body")


@pytest.fixture
def paste(stack):
    """Execute lines in a bash that has what the walk's first block defines."""

    def paste(*blocks):
        script = "\n".join(["set -e -o pipefail", functions(), *blocks]).replace(
            "curl -sS ", "curl -sS --fail-with-body "
        )
        ended = subprocess.run(
            ["bash", "-c", script],  # noqa: S607  # whatever bash there is
            env={"URL": stack.file["api_url"], "KEY": stack.file["api_key"], "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
        return ended.stdout

    return paste


def of_curl(heading):
    return [
        block for block in BLOCKS[heading] if re.search(r"^\s*(call|curl|\w+=\$\(call) ", block, re.MULTILINE)
    ]


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_block_of_a_section_is_taken(paste, heading):
    blocks = of_curl(heading)
    assert len(blocks) >= 3
    said = paste(*blocks)
    assert '"errors"' not in said
    assert '"detail"' not in said


def test_the_structures_of_it_succeed(paste):
    said = paste(*of_curl(SECTIONS[0]))
    ended = re.findall(r'"status":"([A-Z]+)"', said.replace(" ", ""))
    assert ended.count("SUCCEEDED") >= 4
    assert not {"FAILED", "ERROR"} & set(ended)


def test_the_folder_that_it_has_one_make_is_the_one_of_the_tests(tmp_path):
    (block,) = [block for block in BLOCKS[SECTIONS[0]] if "mkdir" in block]
    *making, starting = block.splitlines()
    assert "make dev" in starting
    subprocess.run(["bash", "-ec", "\n".join(making)], cwd=tmp_path, check=True)  # noqa: S607  # whatever there is
    mine = filecmp.dircmp(tmp_path / "structures" / "mine", STRUCTURES / "mine", ignore=["__pycache__"])
    assert (mine.left_only, mine.right_only, mine.diff_files) == ([], [], [])
    assert mine.common_files

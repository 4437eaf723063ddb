"""Clients of other projects, which `make clients` puts each into a folder of its own."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, Final

import pytest

INSTALLED: Final = Path(sys.prefix) / "lib" / "conformance"


def folder(client: str) -> Path:
    """Find a client; skip the test if it had to be left out for this Python, and only then."""
    left_out = INSTALLED / f"{client}.left-out"
    if left_out.is_file():
        pytest.skip(left_out.read_text().strip())
    found = INSTALLED / client
    assert found.is_dir(), f"{client} is not installed: run `make clients`"
    return found


def execute(client: str, preamble: str, program: str, *args: str, home: Path) -> Any:
    """Execute a program in a process that has a client's packages and none of ours.

    Returns:
        What it prints last, which has to be JSON.
    """
    done = subprocess.run(
        [sys.executable, "-S", "-c", preamble + textwrap.dedent(program), *args],
        env={"PYTHONPATH": str(folder(client)), "PATH": os.environ["PATH"], "HOME": str(home)},
        check=False,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])

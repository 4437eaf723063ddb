"""Which processes of pytest have the fixtures: those that execute tests."""

import subprocess
import sys

from tests.support.checkout import ROOT

TEST = "tests/unit/shared/test_owned_directories.py"


def test_a_process_that_distributes_to_nobody_has_the_fixtures():
    command = [sys.executable, "-m", "pytest", "--fixtures", "-q", "--dist=load", TEST]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "committed_sessions" in done.stdout

"""`runyard logs` against real runs."""

import subprocess

import pytest

from tests.support.stack import RUNYARD

pytestmark = pytest.mark.timeout(300)

SOURCE = """
import sys, time
for number in range(3):
    print("line", number, flush=True)
    time.sleep(0.3)
sys.exit(7)
"""


@pytest.fixture
def runyard(stack):
    env = {"RUNYARD_API_URL": stack.file["api_url"], "RUNYARD_API_KEY": stack.file["api_key"]}

    def runyard(*arguments):
        command = [RUNYARD, *arguments]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=90, check=False)

    return runyard


def test_the_output_of_a_run_is_followed_to_its_end_and_read_again(stack, runyard):
    code = {"default": {"folder": "source"}}
    structure = stack.client.post("/api/structures", json={"name": "source", "code": code}).json()
    url = f"/api/structures/{structure['structure_id']}/runs"
    run_id = stack.client.post(url, json={"args": [SOURCE]}).json()["structure_run_id"]
    followed = runyard("logs", "-f", run_id)
    assert (followed.returncode, followed.stdout) == (3, "line 0\nline 1\nline 2\n")
    read = runyard("logs", run_id)
    assert (read.returncode, read.stdout) == (0, followed.stdout)

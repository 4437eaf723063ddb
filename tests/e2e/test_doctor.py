"""`runyard doctor` beside a running development."""

import json
import re
import subprocess

import pytest

from tests.support.stack import RUNYARD, environment

pytestmark = [pytest.mark.full_length, pytest.mark.timeout(300)]


def test_a_running_development_is_found_and_well(stack):
    def look(*, code=0, **env):
        command = [str(RUNYARD), "doctor", "--json", "--data-dir", str(stack.data_dir)]
        done = subprocess.run(
            command, env=environment(**env), check=False, capture_output=True, text=True, timeout=180
        )
        assert done.returncode == code, done.stdout + done.stderr
        return {finding["name"]: finding for finding in json.loads(done.stdout)["findings"]}

    stack.wait_for(stack.create_run(args=["Hi"]))
    found = look()
    for name in (
        "PostgreSQL",
        "Schema",
        "Clock",
        "Redis",
        "Redis writes",
        "Workers",
        "Reconciler",
        "Worker settings",
        "Invariants",
    ):
        assert found[name]["severity"] == "ok"
    assert re.search(r"^1 worker on Redis: worker@\S+\. On the queue 'runs': 1\.$", found["Workers"]["seen"])
    elsewhere = look(code=3, RUNYARD_RUN_QUEUE="elsewhere")["Workers"]
    assert elsewhere["severity"] == "problem"
    assert "RUNYARD_WORKER_QUEUES" in elsewhere["advice"]
    nowhere = look(code=3, RUNYARD_STRUCTURE_QUEUE="nowhere")
    assert (nowhere["Workers"]["severity"], nowhere["Structure workers"]["severity"]) == ("ok", "problem")

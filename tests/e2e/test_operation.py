"""The commands of operators beside a running development."""

import json
import subprocess

import pytest

from tests.support.stack import RUNYARD, environment

pytestmark = pytest.mark.timeout(180)


def test_an_operator_sees_the_run_its_queue_and_its_worker(stack):
    def see(*words):
        command = [str(RUNYARD), *words, "--json", "--data-dir", str(stack.data_dir)]
        done = subprocess.run(
            command, env=environment(), check=False, capture_output=True, text=True, timeout=90
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    run = stack.create_run(args=["Hi"])
    stack.wait_for(run)
    (worker,) = see("workers")
    assert worker["state"] == "ok"
    assert worker["slots"] == 20
    assert worker["queues"] == ["runs"]
    (queue,) = see("queues")
    assert (queue["name"], queue["workers"]) == ("runs", 1)
    shown = see("runs", "show", str(run))
    assert (shown["status"], shown["worker"]) == ("SUCCEEDED", worker["name"])
    assert str(run) in {
        one["run_id"] for one in see("runs", "list", "--status", "SUCCEEDED", "--limit", "1000")["runs"]
    }
    frame = see("top", "--once", "--interval", "0.2")
    assert frame["workers"][0]["name"] == worker["name"]
    assert frame["fault"] is None
    settings = {row["variable"]: row for row in see("config")}
    assert settings["RUNYARD_DATABASE_URL"]["source"] == "runyard dev"

"""A worker that is told to stop before it is ready."""

import json
import os
import signal
import subprocess
import sys

from tests.support.guarding import started
from tests.support.waiting import wait_until

NO_REDIS = "redis://127.0.0.1:1/0"


def test_a_worker_without_redis_stops_at_once_and_says_nothing_but_its_log(committed_settings, tmp_path):
    variables = {
        "RUNYARD_DATABASE_URL": committed_settings.database_url.get_secret_value(),
        "RUNYARD_REDIS_URL": NO_REDIS,
        "RUNYARD_HEALTH_DIR": str(tmp_path / "health"),
    }
    said = tmp_path / "log"
    with said.open("w") as file:
        command = [sys.executable, "-m", "worker", "--processes=1", "--concurrency=1"]
        env = {**os.environ, **variables}
        process = started(command, env=env, stdout=file, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: "Cannot connect to redis" in said.read_text(), what="the worker to miss Redis")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    lines = [json.loads(line) for line in said.read_text().splitlines()]
    assert [line["code"] for line in lines if line["event"] == "process stopped"] == [0]

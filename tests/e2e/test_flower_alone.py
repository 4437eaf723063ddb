"""Flower below a path, with a state that outlives it, with and without credentials."""

import stat
import subprocess
from contextlib import contextmanager

import httpx2
import pytest

from shared.processes.ports import free_port
from tests.support.stack import RUNYARD, environment
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.full_length, pytest.mark.timeout(240)]

PATH = "/ops/flower"
AUTH = ("operator", "secret")


@pytest.fixture
def flower(stack, tmp_path):
    """Start a further Flower, with a state of its own; yields a client of it."""
    env = environment(
        RUNYARD_DATABASE_URL=stack.file["database_url"],
        RUNYARD_REDIS_URL=stack.file["redis_url"],
        RUNYARD_HEALTH_DIR=str(tmp_path / "health"),
        RUNYARD_FLOWER_URL_PREFIX=PATH.strip("/"),
        RUNYARD_FLOWER_STATE=str(tmp_path / "tasks"),
    )

    @contextmanager
    def flower(**more):
        port = free_port()
        own = {**env, "RUNYARD_FLOWER_PORT": str(port), **more}
        with (tmp_path / "flower.log").open("ab") as log:
            process = subprocess.Popen([RUNYARD, "flower"], env=own, stdout=log, stderr=log)
        try:
            with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:

                def answers():
                    try:
                        return client.get(f"{PATH}/healthcheck").status_code == 200
                    except httpx2.TransportError:
                        return process.poll() is not None

                wait_until(answers, timeout=60, what="Flower to answer")
                assert process.poll() is None, (tmp_path / "flower.log").read_text()
                health = subprocess.run(
                    [RUNYARD, "health", "flower"], env=own, capture_output=True, check=False
                )
                assert (health.returncode, health.stdout) == (0, b"healthy: flower, 1 process\n"), health
                yield client
        finally:
            process.terminate()
            process.wait(20)

    return flower


def state_of(client, run_id, **options):
    answer = client.get(f"{PATH}/api/task/info/{run_id}.1", **options)
    return answer.json()["state"] if answer.status_code == 200 else None


def test_what_flower_has_missed_while_it_was_away_is_made_up_for(stack, flower, tmp_path):
    with flower(RUNYARD_FLOWER_BASIC_AUTH=":".join(AUTH)) as client:
        ended, running = (stack.create_run(args=["Hi"], model="openai/hang") for _ in range(2))
        for run_id in (ended, running):
            wait_until(
                lambda run_id=run_id: state_of(client, run_id, auth=AUTH) == "STARTED",
                timeout=30,
                what="Flower to show a run",
            )
        page = client.get(f"{PATH}/task/{ended}.1", auth=AUTH)
        assert "Terminate" in page.text
        assert client.get(f"/api/task/info/{ended}.1", auth=AUTH).status_code == 404
        assert client.get(f"{PATH}/api/task/info/{ended}.1").status_code == 401
    states = list(tmp_path.glob("tasks*"))
    assert states
    assert {stat.S_IMODE(path.stat().st_mode) for path in states} == {0o600}
    stack.cancel(ended)
    stack.wait_for(ended)
    with flower() as client:  # without credentials, it is to be looked at only
        page = client.get(f"{PATH}/task/{ended}.1")
        assert page.status_code == 200
        assert ended in page.text
        assert "Terminate" not in page.text
        refused = client.post(f"{PATH}/api/task/revoke/{running}.1?terminate=true")
        assert refused.status_code in {401, 403}

        def caught_up():
            state = client.get(f"{PATH}/task/{ended}.1").text
            return "REVOKED" in state

        wait_until(caught_up, timeout=60, what="the end that it has missed")
        assert "STARTED" in client.get(f"{PATH}/task/{running}.1").text
    assert stack.run(running)["status"] == "RUNNING"
    stack.cancel(running)

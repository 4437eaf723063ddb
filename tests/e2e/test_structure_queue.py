"""Structure runs on a queue of their own: no worker but one that listens to it executes them."""

import pytest

from tests.support.stack import environment, running_stack
from tests.support.waiting import wait_until
from tests.support.workers import running_worker

pytestmark = pytest.mark.timeout(300)


def test_a_structure_run_is_executed_by_the_worker_that_listens_to_its_queue(tmp_path):
    env = environment(RUNYARD_STRUCTURE_QUEUE="structures")
    with running_stack(tmp_path / "stack", env=env) as stack:
        structure = stack.client.post("/api/structures", json={"name": "sample"}).json()
        url = f"/api/structures/{structure['structure_id']}/runs"
        run_id = stack.client.post(url, json={"args": ["Hello"]}).json()["structure_run_id"]

        def read():
            return stack.client.get(f"/api/structure-runs/{run_id}").json()

        assert stack.wait_for(stack.create_run(input="Hi"))["status"] == "SUCCEEDED"
        assert read()["status"] == "QUEUED"
        env["RUNYARD_WORKER_QUEUES"] = "structures"
        with running_worker(stack, tmp_path / "worker.log", "--concurrency=2", env=env) as worker:
            run = wait_until(
                lambda: (run := read())["completed_at"] and run, timeout=60, what="the structure run to end"
            )
            assert (run["status"], run["output"]["value"]) == ("SUCCEEDED", "Hello")
            assert run_id in worker.log
            assert stack.wait_for(stack.create_run(input="Hi"))["status"] == "SUCCEEDED"
            assert run_id not in (stack.data_dir / "logs" / "worker.log").read_text()

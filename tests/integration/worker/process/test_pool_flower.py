"""Flower's buttons reach the run."""

import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from shared.processes.hidden import hidden_module
from shared.processes.ports import free_port
from tests.support.pool_bench import PoolBench, eventually, kill_tree
from tests.support.services import TestServices


@pytest.fixture(scope="module")
def bench(
    services: TestServices, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Generator[PoolBench]:
    """What Flower watches, for all tests of the module."""
    with services.cloned_database(template_database) as url:
        settings = services.settings(database_url=url, redis_url=services.empty_redis())
        bench = PoolBench(settings, tmp_path_factory.mktemp("bench"))
        yield bench
        bench.close()


@pytest.fixture(scope="module")
def flower(bench: PoolBench, tmp_path_factory: pytest.TempPathFactory) -> Generator[httpx2.Client]:
    """A Flower for all tests of the module: none of them changes it."""
    port, tmp_path = free_port(), tmp_path_factory.mktemp("flower")
    options = [f"--port={port}", "--address=127.0.0.1", "--basic-auth=operator:secret"]
    with (tmp_path / "flower.log").open("wb") as log:
        process = subprocess.Popen(
            [*hidden_module("celery"), "-A", "worker.app", "flower", *options],
            env=bench.env,
            cwd=tmp_path,
            stdout=log,
            stderr=log,
        )
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", auth=("operator", "secret")) as client:
            eventually(lambda: answers(client), "Flower to answer")
            yield client
    finally:
        kill_tree(process)


def answers(client: httpx2.Client) -> bool:
    try:
        return client.get("/healthcheck").status_code == 200
    except httpx2.TransportError:
        return False


def state_of(client: httpx2.Client, task_id: str) -> Any:
    answer = client.get(f"/api/task/info/{task_id}")
    return answer.json()["state"] if answer.status_code == 200 else None


def press(client: httpx2.Client, button: str) -> bool:
    return client.post(f"/api/worker/{button}").status_code == 200


def test_terminate_button_stops_the_run_and_the_task_stays_revoked(
    bench: PoolBench, flower: httpx2.Client
) -> None:
    with bench.worker():
        task = bench.start_task("wait", 60)
        eventually(lambda: state_of(flower, task.id) == "STARTED", "Flower to know of the task")
        answer = flower.post(f"/api/task/revoke/{task.id}", params={"terminate": "true"})
        assert answer.status_code == 200
        assert bench.heard("stopped", task.id).reason == "cancelled"
        later = bench.send("nothing")
        bench.heard("finished", later)
        eventually(lambda: state_of(flower, later) == "SUCCESS", "Flower to be up to date")
        assert state_of(flower, task.id) == "REVOKED"


def test_pool_and_shutdown_buttons(bench: PoolBench, flower: httpx2.Client) -> None:
    with bench.worker(concurrency=1, name="grown") as process:
        eventually(
            lambda: "grown@test" in flower.get("/api/workers", params={"refresh": "1"}).json(),
            "Flower to know of the worker",
        )
        assert press(flower, "pool/grow/grown@test?n=1")
        tasks = [bench.start_task("wait", 60) for _ in range(2)]
        assert press(flower, "pool/shrink/grown@test?n=1")
        assert press(flower, "shutdown/grown@test")
        assert {bench.heard("stopped").id for _ in tasks} == {task.id for task in tasks}
        assert process.wait(60) == 0


@pytest.mark.parametrize("path", ["/", "/tasks", "/metrics", "/api/workers", "/api/tasks", "/no-such-page"])
def test_no_page_is_framed_and_none_but_the_health_check_is_open(flower: httpx2.Client, path: str) -> None:
    shown = flower.get(path)
    assert shown.status_code == (404 if path == "/no-such-page" else 200)
    stranger = httpx2.get(str(flower.base_url.join(path)), timeout=60)
    if path != "/no-such-page":
        assert stranger.status_code == 401
    for answer in (shown, stranger):
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert httpx2.get(str(flower.base_url.join("/healthcheck")), timeout=60).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "task/send-task/runyard.execute_run",
        "task/apply/runyard.execute_run",
        "task/async-apply/runyard.execute_run",
        "task/abort/11111111-1111-4111-8111-111111111111",
        "task/timeout/runyard.execute_run",
        "task/rate-limit/runyard.execute_run",
        "worker/queue/add-consumer/w@test",
        "worker/queue/cancel-consumer/w@test",
        "worker/pool/autoscale/w@test",
        "worker/pool/restart/w@test",
    ],
)
def test_controls_that_submit_or_steer_are_off(flower: httpx2.Client, path: str) -> None:
    assert flower.post(f"/api/{path}", json={"args": []}).status_code == 403
    assert httpx2.post(str(flower.base_url.join(f"/api/{path}")), json={}, timeout=60).status_code == 401


def test_no_variable_opens_the_api_and_the_metrics_without_credentials(
    bench: PoolBench, tmp_path: Path
) -> None:
    port = free_port()
    with (tmp_path / "open.log").open("wb") as log:
        process = subprocess.Popen(
            [*hidden_module("celery"), "-A", "worker.app", "flower", f"--port={port}"],
            env={**bench.env, "FLOWER_UNAUTHENTICATED_API": "true", "FLOWER_ADDRESS": "127.0.0.1"},
            cwd=tmp_path,
            stdout=log,
            stderr=log,
        )
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}") as client:
            eventually(lambda: answers(client), "Flower to answer")
            for path in ("/metrics", "/api/workers", "/api/tasks"):
                answer = client.get(path)
                assert answer.status_code == 401
                assert "Access-Control-Allow-Origin" not in answer.headers
    finally:
        kill_tree(process)

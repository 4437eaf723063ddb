"""Worker processes whose Redis dies and comes back."""

from collections.abc import Generator
from pathlib import Path

import pytest
from kombu.exceptions import OperationalError

from cli.local.embedded.redis import EmbeddedRedis
from shared.settings import Settings
from tests.support.pool_bench import PoolBench, eventually


@pytest.fixture
def redis_server(tmp_path: Path) -> Generator[EmbeddedRedis]:
    """A Redis of the test's own, to be killed."""
    with EmbeddedRedis(tmp_path / "redis", durable=False) as server:
        yield server


@pytest.fixture
def bench(redis_server: EmbeddedRedis, tmp_path: Path) -> Generator[PoolBench]:
    settings = Settings.model_validate(
        {"database_url": "postgresql://nowhere/none", "redis_url": redis_server.url}
    )
    bench = PoolBench(settings, tmp_path)
    yield bench
    bench.close()


def kill(server: EmbeddedRedis) -> None:
    server.process.kill()
    server.process.wait()


def send_again(bench: PoolBench) -> str:
    """Send a task by a client whose connection broke with the server."""

    def try_to_send() -> str | None:
        try:
            return bench.send("nothing")
        except OperationalError:
            return None

    task_id: str = eventually(try_to_send, "the client to connect again")
    return task_id


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_worker_takes_and_stops_tasks_again_after_redis_died(
    bench: PoolBench, redis_server: EmbeddedRedis, pool: str
) -> None:
    with bench.worker(pool=pool, concurrency=2) as process:
        running = bench.start_task("wait", 60)
        eventually(lambda: f"told started {running.id}" in bench.log, "the task to go on")
        kill(redis_server)
        eventually(lambda: "Cannot connect to" in bench.log, "the loss to be noticed")
        redis_server.start()
        bench.heard("finished", send_again(bench))
        bench.terminate(running.id)  # it has run on, and can still be reached
        bench.heard("stopped", running.id)
        for _ in range(4):
            task = bench.start_task("wait", 60)
            bench.terminate(task.id)
            bench.heard("stopped", task.id)
        assert process.poll() is None


def test_worker_drains_without_redis(bench: PoolBench, redis_server: EmbeddedRedis) -> None:
    with bench.worker() as process:
        running = bench.start_task("stuck", 0.1)
        eventually(lambda: f"told started {running.id}" in bench.log, "the task to go on")
        kill(redis_server)
        eventually(lambda: "Cannot connect to" in bench.log, "the loss to be noticed")
        process.terminate()
        assert process.wait(60) == 0
    assert "thread abandoned" in bench.log

"""What Celery and Flower load."""

from typing import Any

import pytest

from shared.dispatch.dispatcher import EXECUTE_RUN
from shared.setting_types import names_of
from shared.settings import Settings
from worker.process.wiring import make_app

URLS = {"database_url": "postgresql://nowhere/none", "redis_url": "redis://nowhere/0"}


@pytest.fixture
def app() -> Any:
    return make_app(Settings.model_validate({**URLS, "worker_queues": "runs, other", "concurrency": 7}))


def test_worker_knows_every_task_that_is_sent(app: Any) -> None:
    assert EXECUTE_RUN in app.tasks


def test_messages_are_acknowledged_early_and_none_is_hoarded(app: Any) -> None:
    assert not app.tasks[EXECUTE_RUN].acks_late
    assert not app.tasks[EXECUTE_RUN].reject_on_worker_lost
    assert app.conf.worker_disable_prefetch


def test_worker_started_by_hand_is_ours(app: Any) -> None:
    assert app.conf.worker_pool == "worker.process.pool:TaskPool"
    assert app.conf.worker_concurrency == 7
    assert [queue.name for queue in app.conf.task_queues] == ["runs", "other"]


def test_queue_names_are_separated_by_commas() -> None:
    assert names_of(" a,b ,, c") == ["a", "b", "c"]

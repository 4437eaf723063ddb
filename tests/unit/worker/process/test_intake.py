"""What a worker says about commands from the broker."""

import logging
from types import SimpleNamespace

import pytest
from celery.worker import control, state

from shared.celery_app import make_celery
from shared.settings import Settings
from worker.process import intake


@pytest.fixture
def worker(monkeypatch):
    """The state of a worker, as a command meets it."""
    monkeypatch.setattr(state, "revoked", set())
    intake.shorten_log_lines()
    yield SimpleNamespace(app=make_celery(Settings(database_url="postgresql://h/d", redis_url="redis://h")))
    for name in ("kombu.pidbox", "celery.worker.control"):
        logging.getLogger(name).removeFilter(intake._shorten)


def test_a_revoke_of_a_task_of_another_worker_is_no_matter_for_a_warning(worker, caplog):
    control.revoke(worker, ["a", "b"], terminate=True)
    assert state.revoked == {"a", "b"}
    assert [line for line in caplog.records if line.levelno >= logging.WARNING] == []


def test_a_long_line_about_a_command_is_cut(worker, caplog):
    logging.getLogger("celery.worker.control").error("no such command: %s", "x" * 1_000)
    assert [len(line.getMessage()) for line in caplog.records] == [intake.MAX_LINE]

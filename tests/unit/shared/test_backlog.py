"""Which tasks' messages wait in the queues."""

import json
import uuid

import pytest

from shared.dispatch import backlog

QUEUE = "runs"


def message(identifier):
    return json.dumps({"headers": {"id": identifier}})


def test_the_tasks_of_all_queues_are_named(fake_redis):
    names = [str(uuid.uuid4()) for _ in range(2 * backlog.SLICE + 1)]
    for number, name in enumerate(names):
        fake_redis.lpush("ab"[number % 2], message(name))
    assert backlog.task_ids(fake_redis, ["a", "b", "empty"]) == set(names)


def test_what_is_no_message_is_no_task(fake_redis):
    for garbage in (
        b"{bad",
        b"42",
        b"[]",
        b"\xff",
        b'{"headers": {"id": 7}}',
        b'{"headers": []}',
        b'{"headers": {"id": "\\u0000"}}',
    ):
        fake_redis.lpush(QUEUE, garbage)
    assert backlog.task_ids(fake_redis, [QUEUE]) == frozenset()


@pytest.mark.parametrize("bound", ["MOST", "MOST_BYTES"])
def test_a_backlog_that_is_too_large_to_look_at_is_not_known(fake_redis, bound, monkeypatch):
    for _ in range(3):
        fake_redis.lpush(QUEUE, message(str(uuid.uuid4())))
    monkeypatch.setattr(backlog, bound, 2)
    assert backlog.task_ids(fake_redis, [QUEUE]) is None


def test_a_queue_that_fills_and_empties_while_it_is_read_is_read_whole(fake_redis, monkeypatch):
    monkeypatch.setattr(backlog, "SLICE", 2)
    for number in range(7):
        fake_redis.lpush(QUEUE, message(str(number)))
    real = fake_redis.lrange

    def busy(name, start, end):
        found = real(name, start, end)
        fake_redis.lpush(name, message("new"))
        fake_redis.rpop(name)
        return found

    monkeypatch.setattr(fake_redis, "lrange", busy)
    left = {json.loads(one)["headers"]["id"] for one in real(QUEUE, 0, 2)}
    assert backlog.task_ids(fake_redis, [QUEUE]) >= left

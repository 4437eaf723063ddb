"""Messages of tasks: several in one round trip are what they are one by one."""

import base64
import json
import uuid

import pytest
import redis

from shared.celery_app import make_celery
from shared.db import unit_of_work
from shared.dispatch.dispatcher import Dispatcher, task_id_of
from shared.dispatch.shares import Message
from shared.lifecycle import RunKind


@pytest.fixture
def dispatcher(committed_settings):
    celery = make_celery(committed_settings)
    made = Dispatcher.make(committed_settings, celery)
    yield made
    made.close()
    celery.close()


@pytest.fixture
def client(committed_settings):
    with redis.Redis.from_url(committed_settings.redis_url.get_secret_value()) as client:
        yield client


@pytest.fixture
def waiting(client, committed_settings):
    """Take the messages that wait for the workers, oldest first."""

    def waiting():
        messages = client.lrange(committed_settings.run_queue, 0, -1)
        client.delete(committed_settings.run_queue)
        return [json.loads(message) for message in reversed(messages)]

    return waiting


def messages(count):
    return [Message(uuid.uuid4(), attempt, RunKind.ASSISTANT) for attempt in range(1, count + 1)]


def common(message):
    """A message without what is its own."""
    own = {"id", "root_id", "kwargsrepr"}
    properties = {**message["properties"], "delivery_tag": "", "correlation_id": ""}
    headers = {name: "" if name in own else value for name, value in message["headers"].items()}
    args, kwargs, embedded = json.loads(base64.b64decode(message["body"]))
    return {**message, "headers": headers, "properties": properties, "body": [args, sorted(kwargs), embedded]}


def test_messages_sent_together_are_equal_to_those_sent_alone_and_in_order(dispatcher, waiting):
    all_of_them = messages(5)
    dispatcher._send_together(all_of_them)
    together = waiting()
    for message in all_of_them:
        dispatcher.send(message.run_id, attempt=message.attempt, kind=message.kind)
    alone = waiting()
    assert [common(message) for message in together] == [common(message) for message in alone]
    assert [message["headers"]["id"] for message in together] == [
        task_id_of(message.run_id, message.attempt) for message in all_of_them
    ]
    assert [
        (message["body"], message["headers"]["kwargsrepr"], message["properties"]["correlation_id"])
        for message in together
    ] == [
        (message["body"], message["headers"]["kwargsrepr"], message["properties"]["correlation_id"])
        for message in alone
    ]
    assert len({message["properties"]["delivery_tag"] for message in together}) == 5


def test_monitors_are_told_of_each_message_sent_together(dispatcher, client, waiting):
    with client.pubsub(ignore_subscribe_messages=True) as listener:
        listener.psubscribe("*task.sent")
        listener.get_message(timeout=30)
        all_of_them = messages(3)
        dispatcher._send_together(all_of_them)
        told = [listener.get_message(timeout=30) for _ in all_of_them]
    bodies = [json.loads(base64.b64decode(json.loads(one["data"])["body"])) for one in told]
    assert [body["uuid"] for body in bodies] == [
        task_id_of(message.run_id, message.attempt) for message in all_of_them
    ]


def test_a_message_that_cannot_be_made_keeps_no_other_back(dispatcher, waiting, monkeypatch):
    first, broken, last = messages(3)
    send = dispatcher._send_task

    def send_unless_broken(message, **options):
        if message is broken:
            raise ValueError("cannot be made")
        send(message, **options)

    monkeypatch.setattr(dispatcher, "_send_task", send_unless_broken)
    dispatcher._send_together([first, broken, last])
    assert [message["headers"]["id"] for message in waiting()] == [
        task_id_of(message.run_id, message.attempt) for message in (first, last)
    ]


def test_what_one_transaction_enqueues_is_sent_in_order(dispatcher, waiting, committed_sessions):
    all_of_them = messages(30)
    with unit_of_work(committed_sessions) as session:
        for message in all_of_them:
            dispatcher.enqueue(session, message.run_id, attempt=message.attempt, kind=message.kind)
    dispatcher._tasks.close()
    assert [message["headers"]["id"] for message in waiting()] == [
        task_id_of(message.run_id, message.attempt) for message in all_of_them
    ]

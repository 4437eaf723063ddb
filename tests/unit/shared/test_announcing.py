"""What a dispatcher publishes of stored events, and when; how it is delivered is tested on a real Redis."""

import uuid
from datetime import UTC, datetime

import pytest
from celery import Celery
from sqlalchemy import create_engine
from sqlalchemy.orm import sessionmaker

from shared.db import unit_of_work
from shared.dispatch.dispatcher import Dispatcher
from shared.events import channels
from shared.events.log import StoredEvent, encode
from shared.lifecycle import RunKind
from shared.models import Origin

SECRET = b"the installation's secret"
PREFIX = "ours:"


@pytest.fixture
def sessions():
    """Transactions of a database that holds nothing."""
    engine = create_engine("sqlite://")
    yield sessionmaker(engine)
    engine.dispose()


@pytest.fixture
def dispatcher_of(fake_redis):
    """Make a dispatcher that knows a secret, or none."""
    made = []

    def make(secret):
        queues = {RunKind.ASSISTANT: "runs", RunKind.STRUCTURE: "runs"}
        made.append(
            Dispatcher(
                Celery(set_as_current=False), fake_redis, queues=queues, prefix=PREFIX, secret=lambda: secret
            )
        )
        return made[-1]

    yield make
    for dispatcher in made:
        dispatcher.close()


def events_of(run_id, count):
    return [
        StoredEvent(run_id, seq, uuid.uuid4(), Origin.SYSTEM, "x", {}, 0.0, datetime.now(UTC))
        for seq in range(count)
    ]


@pytest.fixture
def heard(fake_redis):
    """Listen to a run's channel; return what was published on it until then."""
    run_id = uuid.uuid4()
    channel = channels.channel_of(run_id, prefix=PREFIX)
    with fake_redis.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe(channel)

        def heard():
            said = iter(lambda: listener.get_message(timeout=0.01), None)
            return [message["data"] for message in said if message]

        heard.run_id, heard.channel = run_id, channel
        assert heard() == []
        yield heard


def test_events_are_published_after_the_commit_sealed_for_their_run(dispatcher_of, sessions, heard):
    dispatcher, events = dispatcher_of(SECRET), events_of(heard.run_id, 2)
    with unit_of_work(sessions) as session:
        dispatcher.announce(session, events)
        assert heard() == []
    dispatcher._events.close()
    (message,) = heard()
    assert channels.unsealed(heard.channel, message, SECRET) == encode(events)
    elsewhere = channels.channel_of(uuid.uuid4(), prefix=PREFIX)
    assert channels.unsealed(elsewhere, message, SECRET) is None


def test_of_a_transaction_that_is_rolled_back_nothing_is_published(dispatcher_of, sessions, heard):
    dispatcher = dispatcher_of(SECRET)
    with pytest.raises(ZeroDivisionError), unit_of_work(sessions) as session:
        dispatcher.announce(session, events_of(heard.run_id, 1))
        1 / 0  # noqa: B018  # whatever breaks the transaction
    dispatcher._events.close()
    assert heard() == []


def test_without_the_secret_only_that_there_is_news(dispatcher_of, sessions, heard):
    dispatcher = dispatcher_of(None)
    with unit_of_work(sessions) as session:
        dispatcher.announce(session, events_of(heard.run_id, 1))
    dispatcher._events.close()
    assert heard() == [channels.NEWS]

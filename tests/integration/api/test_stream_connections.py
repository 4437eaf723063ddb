"""Event streams over a Redis as operators have it: what is published arrives, not what is looked up."""

from contextlib import ExitStack, contextmanager
from datetime import timedelta

import pytest
from pydantic import SecretStr

from shared.celery_app import make_celery
from shared.db import unit_of_work
from shared.dispatch.dispatcher import Dispatcher
from shared.events import log
from shared.events.channels import make_redis
from shared.lifecycle import RunStatus
from shared.models import Origin
from tests.integration.api.serving import serving
from tests.support.redis_socket import redis_on_a_socket
from tests.support.tls import encrypting, make_certificate
from tests.support.waiting import wait_until


@contextmanager
def with_a_prefix(_services, settings, _directory):
    yield settings.model_copy(update={"redis_prefix": "ours:"})


@contextmanager
def on_a_socket(_services, settings, directory):
    with redis_on_a_socket(directory) as path:
        yield settings.model_copy(update={"redis_url": SecretStr(f"unix://{path}?db=1")})


@contextmanager
def behind_tls(services, settings, directory):
    certificate = make_certificate(directory, host="127.0.0.1")
    with encrypting(certificate, services.redis.port) as port:
        url = settings.redis_url.get_secret_value().replace("redis:", "rediss:", 1)
        encrypted = SecretStr(url.replace(f":{services.redis.port}/", f":{port}/"))
        yield settings.model_copy(update={"redis_url": encrypted, "redis_ca": certificate.path})


@pytest.mark.parametrize("place", [with_a_prefix, on_a_socket, behind_tls])
def test_a_stream_hears_what_is_published(
    services, committed_settings, committed_sessions, secret, make_run, tmp_path, place
):
    run = make_run(status=RunStatus.RUNNING)
    with ExitStack() as exits:
        found = exits.enter_context(place(services, committed_settings, tmp_path))
        settings = found.model_copy(update={"stream_reread": timedelta(seconds=100)})
        served = exits.enter_context(serving(settings, secret=secret))
        client = exits.enter_context(make_redis(settings))
        dispatcher = Dispatcher.make(settings, exits.enter_context(make_celery(settings)))
        exits.callback(dispatcher.close)
        wait_until(lambda: served.resources.subscriber.is_connected, what="pub/sub to be connected")
        reader = exits.enter_context(served.stream(run.id))
        seen = [reader.next()["type"] for _ in range(3)]
        channel = f"{settings.redis_prefix}runyard:run:{run.id}"
        wait_until(lambda: client.pubsub_numsub(channel)[0][1], what="a subscription")
        with unit_of_work(committed_sessions) as session:
            told = log.NewEvent(Origin.ASSISTANT, "TextChunkEvent", {"token": "heard"})
            dispatcher.announce(session, log.append(session, run.id, [told], attempt=run.attempt))
        assert reader.next()["payload"]["token"] == "heard"
        assert seen[0] == "AssistantRunQueued"

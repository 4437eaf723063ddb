"""Redis as operators have it: shared with another installation, behind TLS, or on a socket of the system."""

import time
from contextlib import contextmanager

import pytest
import redis
from kombu.exceptions import OperationalError
from redis.exceptions import NoPermissionError

from cli.doctor.broker import examine_broker
from cli.doctor.findings import Severity
from cli.local.embedded.redis import EmbeddedRedis
from shared.celery_app import make_celery
from shared.dispatch.dispatcher import Dispatcher, ask
from shared.events.channels import make_redis
from shared.settings import Settings
from tests.support.pool_bench import PoolBench
from tests.support.redis_socket import redis_on_a_socket
from tests.support.tls import encrypting, make_certificate

PATIENCE = 0.5  # seconds that workers have to answer


def settings_for(url, **values):
    return Settings.model_validate({"database_url": "postgresql://h/d", "redis_url": url, **values})


def connect(celery):
    """Reach the broker once; a refusal is raised."""
    with celery.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=5)


@pytest.fixture
def redis_url(services):
    return services.empty_redis()


@pytest.fixture
def benches(redis_url, tmp_path):
    """Two installations on one Redis."""
    made = []
    for name in ("one", "two"):
        directory = tmp_path / name
        directory.mkdir()
        settings = settings_for(redis_url, redis_prefix=f"{name}:")
        made.append(PoolBench(settings, directory, RUNYARD_REDIS_PREFIX=f"{name}:"))
    yield made
    for bench in made:
        bench.close()


def test_two_installations_on_one_redis_keep_to_themselves(benches):
    one, two = benches
    with one.worker(name="worker"):
        two.send("nothing")
        done = one.send("nothing")
        assert one.heard("finished", done)  # and the other's, sent before, was not taken
        assert two.redis.llen("two:runs") == 1
        assert ask(two.app, "shutdown", timeout=PATIENCE) == []
        assert ask(one.app, "ping", timeout=30, limit=1) == [("worker@test", {"ok": "pong"})]
        again = one.send("nothing")
        assert one.heard("finished", again)
    ours = {key.decode() for key in one.redis.scan_iter() if key != b"told"}
    assert ours
    assert {key.partition(":")[0] for key in ours} <= {"one", "two"}


def test_the_queue_of_another_installation_is_not_counted(benches):
    one, two = benches
    two.send("nothing")
    lengths = []
    for bench in (one, two):
        with make_redis(bench.settings) as client:
            lengths.append(Dispatcher.over(bench.settings, bench.app, client).queue_length())
    assert lengths == [0, 1]
    assert (
        "0 messages wait"
        in {finding.name: finding.seen for finding in examine_broker(one.settings).findings}["Queue"]
    )


def test_the_user_of_the_processes_has_no_more_than_what_begins_with_the_prefix(tmp_path):
    with EmbeddedRedis(tmp_path / "redis", durable=False, prefix="ours:") as server:
        ours = settings_for(server.application_url, redis_prefix="ours:")
        with make_celery(ours) as celery:
            celery.send_task("some.task", ignore_result=True)
            assert celery.control.inspect(timeout=0.1).ping() is None
        with make_redis(ours) as client:
            assert client.llen("ours:runs") == 1
            client.publish("ours:runyard:run:1", b"")
            for command in ("LLEN runs", "LPUSH theirs:runs x", "PUBLISH runyard:run:1 x"):
                with pytest.raises(NoPermissionError):
                    client.execute_command(*command.split())


@pytest.mark.parametrize("spelt", ["unix://{}?db=3", "redis+socket://{}?virtual_host=3"])
def test_a_socket_of_the_system_serves_broker_and_pub_sub(tmp_path, spelt):
    with redis_on_a_socket(tmp_path) as path:
        settings = settings_for(spelt.format(path))
        with make_redis(settings) as client, make_celery(settings) as celery:
            celery.send_task("some.task", ignore_result=True)
            assert client.llen("runs") == 1
            assert client.connection_pool.connection_kwargs["db"] == 3
            assert client.info("keyspace").keys() == {"db3"}


@pytest.fixture
def encrypted(services, redis_url, tmp_path):
    """Redis behind TLS with a certificate for a host: settings that trust who has signed it."""

    @contextmanager
    def encrypted(host="127.0.0.1"):
        certificate = make_certificate(tmp_path / "tls", host=host)
        with encrypting(certificate, services.redis.port) as port:
            url = redis_url.replace("redis:", "rediss:", 1).replace(f":{services.redis.port}/", f":{port}/")
            yield settings_for(url, redis_ca=certificate.path)

    return encrypted


def test_a_server_that_proves_itself_serves_broker_and_pub_sub(encrypted):
    with encrypted() as settings, make_redis(settings) as client, make_celery(settings) as celery:
        celery.send_task("some.task", ignore_result=True)
        assert client.llen("runs") == 1
        assert celery.control.inspect(timeout=0.1).ping() is None


@pytest.mark.parametrize("fault", ["an unknown authority", "another's certificate"])
def test_neither_broker_nor_pub_sub_speaks_to_a_server_that_proves_nothing(encrypted, fault):
    is_unknown = fault == "an unknown authority"
    with encrypted(host="127.0.0.1" if is_unknown else "elsewhere.test") as trusting:
        settings = trusting.model_copy(update={"redis_ca": None}) if is_unknown else trusting
        with make_redis(settings) as client, pytest.raises(redis.ConnectionError, match="certificate"):
            client.ping()
        with make_celery(settings) as celery, pytest.raises(OperationalError, match="certificate"):
            connect(celery)


def test_who_says_so_may_speak_to_a_server_that_proves_nothing(encrypted):
    with encrypted(host="elsewhere.test") as settings:
        url = f"{settings.redis_url.get_secret_value()}?ssl_cert_reqs=none"
        lax = settings_for(url)
        with make_redis(lax) as client, make_celery(lax) as celery:
            assert client.ping()
            connect(celery)


def test_the_doctor_says_what_is_wrong_with_an_address():
    found = examine_broker(settings_for("sentinel://h:26379")).findings
    assert [(finding.name, finding.severity) for finding in found] == [("Redis", Severity.PROBLEM)]
    assert "Sentinel" in found[0].seen


def shortest(done, tries=3):
    """The seconds of the quickest try: how long one takes says more of what else the machine does."""
    took = []
    for _ in range(tries):
        begun = time.monotonic()
        done()
        took.append(time.monotonic() - begun)
    return min(took)


def test_who_asks_where_nobody_answers_waits_no_longer_than_they_said(redis_url):
    with make_celery(settings_for(redis_url)) as celery:
        assert shortest(lambda: ask(celery, "ping", timeout=0.1)) < 0.8


def test_who_asks_a_redis_that_refuses_is_told_soon():
    def asked():
        with pytest.raises(OperationalError):
            ask(celery, "ping", timeout=0.1)

    with make_celery(settings_for("redis://127.0.0.1:1")) as celery:
        assert shortest(asked, tries=1) < 4

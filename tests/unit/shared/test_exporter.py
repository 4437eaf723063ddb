"""The exporter: what scrapers get, and what they cannot do."""

import contextlib
import socket
import threading
import time
from http import HTTPStatus

import httpx2
import pytest
from pydantic import ValidationError

from shared.processes import exporter as exporters
from shared.processes.exporter import (
    MAX_CONNECTIONS,
    Answers,
    Exporter,
    MetricsUnprotectedError,
    is_allowed,
    listen,
)
from shared.processes.ports import LOOPBACK, CannotListenError
from shared.settings import Settings
from tests.support.waiting import wait_until

TOKEN = "0123456789abcdef"
EVERYWHERE = "0.0.0.0"  # noqa: S104  # refused


class Stub:
    """A source that counts how often it was asked, and can be held."""

    def __init__(self):
        self.renders = 0
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.failures = 0

    def render(self):
        self.renders += 1
        self.may_go_on.wait(30)
        if self.failures:
            self.failures -= 1
            raise RuntimeError("a bug")
        return b"runyard_slots 1.0\n"

    def tidy(self):
        pass


@pytest.fixture
def source():
    return Stub()


@pytest.fixture
def serve(source, monkeypatch):
    started = []
    monkeypatch.setattr(exporters, "CHECK_INTERVAL", 0.05)

    def start(**options):
        exporter = Exporter(socket.create_server((LOOPBACK, 0)), source, **options)
        exporter.start()
        started.append(exporter)
        return exporter

    yield start
    source.may_go_on.set()
    for exporter in started:
        exporter.close()


def get(exporter, path="/metrics", **headers):
    host, port = exporter.address
    return httpx2.get(f"http://{host}:{port}{path}", headers=headers, timeout=30, trust_env=False)


def settings(**more):
    return Settings(database_url="postgresql://u:p@h/d", redis_url="redis://h", **more)


def test_a_scrape_gets_the_metrics_and_nothing_else(serve):
    exporter = serve()
    answer = get(exporter)
    assert (answer.status_code, answer.text) == (HTTPStatus.OK, "runyard_slots 1.0\n")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert "Python" not in answer.headers["server"]
    assert get(exporter, "/").status_code == HTTPStatus.NOT_FOUND


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer ü"]
)
def test_a_stranger_reads_nothing(given):
    assert not is_allowed(given, TOKEN)


def test_the_token_opens(serve, source):
    exporter = serve(token=TOKEN)
    refused = get(exporter)
    assert (refused.status_code, refused.text) == (HTTPStatus.UNAUTHORIZED, "")
    assert source.renders == 0
    assert get(exporter, Authorization=f"Bearer {TOKEN}").status_code == HTTPStatus.OK


def test_scrapers_that_come_together_share_an_answer(source):
    answers = Answers(source, ttl=60)
    source.may_go_on.clear()
    threads = [threading.Thread(target=answers.get) for _ in range(5)]
    for thread in threads:
        thread.start()
    source.may_go_on.set()
    for thread in threads:
        thread.join()
    assert source.renders == 1


def test_scrapers_that_hang_have_few_connections_and_little_time(serve):
    exporter = serve(timeout=0.3)
    hanging = [socket.create_connection(exporter.address) for _ in range(2 * MAX_CONNECTIONS)]
    try:
        for one in hanging:
            one.settimeout(30)
            one.sendall(b"GET /met")
        for one in hanging:
            with contextlib.suppress(ConnectionError):
                assert one.recv(1024) == b""
        assert get(exporter).status_code == HTTPStatus.OK
    finally:
        for one in hanging:
            one.close()


def test_a_scraper_that_drips_is_cut_off(serve):
    exporter = serve(timeout=0.3)
    with socket.create_connection(exporter.address) as dripping:
        dripping.settimeout(0.05)
        begun_at = time.monotonic()

        def is_over():
            try:
                dripping.sendall(b"G")
                return dripping.recv(1) == b""
            except TimeoutError:
                return False
            except ConnectionError:
                return True

        wait_until(is_over, timeout=60)
        assert time.monotonic() - begun_at >= 0.25


def test_a_failed_scrape_ends_nothing(serve, source):
    exporter = serve()
    source.failures = 1
    with pytest.raises(httpx2.TransportError):
        get(exporter)
    assert get(exporter).status_code == HTTPStatus.OK


def test_the_settings_decide_whether_there_is_a_port():
    assert listen(settings()) is None
    with listen(settings(metrics_port=0)) as listener:
        assert listener.getsockname()[0] == LOOPBACK


def test_outside_loopback_a_token_is_needed():
    with pytest.raises(MetricsUnprotectedError, match="RUNYARD_METRICS_TOKEN"):
        listen(settings(metrics_port=0, metrics_host=EVERYWHERE))
    listen(settings(metrics_port=0, metrics_host=EVERYWHERE, metrics_token=TOKEN)).close()


def test_a_taken_port_is_named():
    with socket.create_server((LOOPBACK, 0)) as taken, pytest.raises(CannotListenError, match="metrics"):
        listen(settings(metrics_port=taken.getsockname()[1]))


def test_the_api_shows_its_metrics_only_behind_a_token():
    with pytest.raises(ValidationError, match="RUNYARD_METRICS_ON_API needs RUNYARD_METRICS_TOKEN"):
        settings(metrics_on_api=True)
    assert settings(metrics_on_api=True, metrics_token=TOKEN).has_metrics


@pytest.mark.parametrize("token", ["short", "sixteen letters ", "sixteen letters\n"])
def test_a_token_is_long_and_can_be_sent(token):
    with pytest.raises(ValidationError, match="16 printable"):
        settings(metrics_token=token)

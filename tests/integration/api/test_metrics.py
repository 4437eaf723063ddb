"""`/metrics` of the API: behind a token on its own port, and of all its processes on a port of their own."""

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from api.app import create_app
from shared.metrics import instruments
from shared.processes.metrics import OwnMetrics
from shared.processes.ports import free_port
from tests.integration.api.serving import api_process
from tests.support.waiting import wait_until

TOKEN = "a token of the operator's own".replace(" ", "-")
PATIENCE = 90  # seconds for a process to start beside others


@pytest.fixture
def _counting():
    yield
    instruments.stop()


def samples(text):
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.mark.usefixtures("_counting")
def test_only_the_token_opens_the_metrics(settings, secret):
    measured = settings.model_validate(
        {**settings.model_dump(), "metrics_on_api": True, "metrics_token": TOKEN}
    )
    with TestClient(create_app(measured, metrics=OwnMetrics())) as client:
        assert client.get("/metrics").status_code == 401
        for wrong in (secret, f"{TOKEN}x", ""):
            assert client.get("/metrics", headers={"Authorization": f"Bearer {wrong}"}).status_code == 401
        answer = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        assert "/metrics" not in client.get("/openapi.json").text
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert samples(answer.text)["runyard_http_requests_total", "/metrics", "4xx"] == 4


def test_without_the_setting_there_is_no_such_path(anonymous):
    assert anonymous.get("/metrics").status_code == 404


@pytest.mark.usefixtures("_counting")
def test_requests_are_counted_by_their_route_and_never_by_their_path(client, make_run):
    source = OwnMetrics()
    run = make_run()
    client.get(f"/api/assistant-runs/{run.id}")
    client.get("/api/nothing/like/this")
    client.get("/v1/nothing/like/this")
    text = source.render().decode()
    found = samples(text)
    route = "/api/assistant-runs/{assistant_run_id}"
    assert found["runyard_http_requests_total", route, "2xx"] == 1
    assert found["runyard_http_request_seconds_count", route] == 1
    assert found["runyard_http_requests_total", "4xx", "unmatched"] == 2
    assert str(run.id) not in text


@pytest.mark.timeout(400)
def test_the_processes_of_an_api_are_added_up_and_counters_survive_a_death(committed_settings, secret):
    port = free_port()
    name = ("runyard_http_requests_total", "/api/users", "2xx")
    variables = {"API_PROCESSES": "2", "METRICS_PORT": str(port)}
    with api_process(committed_settings, secret=secret, patience=PATIENCE, **variables) as process:
        wait_until(lambda: process.log.count('"Application startup complete."') == 2, timeout=PATIENCE)

        def scrape():
            headers = dict(process.client.headers)
            with type(process.client)(headers=headers, timeout=PATIENCE) as client:
                return samples(client.get(f"http://127.0.0.1:{port}/metrics").text)

        def ask():
            with type(process.client)(
                base_url=process.client.base_url, headers=process.client.headers
            ) as client:
                assert client.get("/api/users", timeout=PATIENCE).status_code == 200

        for _ in range(20):
            ask()
        wait_until(lambda: scrape()[name] == 20, timeout=PATIENCE)
        psutil.Process(max(one.pid for one in psutil.Process(process.popen.pid).children())).kill()
        wait_until(lambda: process.log.count('"Application startup complete."') == 3, timeout=PATIENCE)
        ask()
        wait_until(lambda: scrape()[name] == 21, timeout=PATIENCE)

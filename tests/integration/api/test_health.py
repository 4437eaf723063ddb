"""The probes."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from starlette.testclient import TestClient

from api.app import create_app
from api.readiness import ANSWER_TTL
from tests.support.listening import listen
from tests.support.waiting import wait_until


def probe(settings):
    with TestClient(create_app(settings)) as client:
        return client.get("/health/live"), client.get("/health/ready")


def test_with_everything_there_it_is_ready(settings):
    with TestClient(create_app(settings)) as client:
        assert client.get("/health/live").json() == {"status": "live"}
        expected = {"status": "ready", "database": "ready", "redis": "ready"}
        wait_until(lambda: client.get("/health/ready").json() == expected)
        assert client.get("http://testserver//health//ready/").status_code == 200


def test_redis_is_reported_and_not_needed(settings):
    live, ready = probe(settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")}))
    assert (live.status_code, ready.status_code) == (200, 200)
    assert ready.json() == {"status": "ready", "database": "ready", "redis": "unavailable"}


@pytest.mark.parametrize("url", ["postgresql://127.0.0.1:1/none", "postgresql://%2Fnowhere/none"])
def test_without_postgresql_it_lives_and_is_not_ready(settings, url):
    live, ready = probe(settings.model_copy(update={"database_url": SecretStr(url)}))
    assert (live.status_code, ready.status_code) == (200, 503)
    assert ready.json()["database"] == "unavailable"


def test_a_database_without_its_tables_is_not_ready(committed_settings, committed_engine):
    with committed_engine.begin() as connection:
        connection.execute(text("DELETE FROM alembic_version"))
    _, ready = probe(committed_settings)
    assert (ready.status_code, ready.json()["database"]) == (503, "not migrated")


def test_many_probes_at_once_ask_postgresql_once(served):
    statements = []
    listen(served.resources.upkeep_engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    begun = time.monotonic()
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: served.client.get("/health/ready").status_code, range(100)))
    assert set(answers) == {200}
    rounds = (time.monotonic() - begun) / ANSWER_TTL + 1
    asked = [statement for statement in statements if "pg_logical_emit_message" in statement]
    assert 1 <= len(asked) <= rounds + 1


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/docs", "/openapi.json"])
def test_a_balancer_may_ask_for_the_head_alone(anonymous, path):
    answer = anonymous.head(path)
    assert (answer.status_code, answer.content) == (200, b"")

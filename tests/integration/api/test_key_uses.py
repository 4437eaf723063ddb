"""When a key was last used is known soon, and no request pays for it."""

import uuid
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from pydantic import SecretStr
from sqlalchemy import event, exc

from api.key_uses import KeyUses
from shared.db import make_engine, make_sessions, unit_of_work
from shared.keys.service import record_use
from shared.models import ApiKey
from tests.support.waiting import wait_until


@pytest.fixture
def key_id(client, factories):
    return factories.default_principal().key_id


@pytest.fixture
def read_key(sessions, key_id):
    def read_key():
        with sessions() as session:
            return session.get_one(ApiKey, key_id)

    return read_key


@pytest.fixture
def uses(client):
    return client.app.state.resources.key_uses


def flush(client):
    client.portal.call(client.app.state.resources.key_uses.flush)


def test_a_use_is_stored_by_the_next_flush_and_not_by_its_request(client, read_key):
    before = read_key()
    started_at = datetime.now(UTC)
    for _ in range(3):
        assert client.get("/api/users").status_code == 200
    assert read_key().last_used_at is None
    flush(client)
    after = read_key()
    assert started_at <= after.last_used_at <= datetime.now(UTC)
    assert after.updated_at == before.updated_at


def test_what_a_key_shows_is_its_use(client, key_id):
    url = f"/api/api-keys/{key_id}"
    unused = client.get(url).json()
    assert unused["last_used"] == unused["created_at"]
    flush(client)
    assert client.get(url).json()["last_used"] > unused["last_used"]


def test_a_refused_key_leaves_nothing(client, uses):
    assert client.get("/api/users", headers={"Authorization": "Bearer ry_wrong"}).status_code == 401
    assert uses._used_at == {}


def test_without_uses_nothing_is_written(client, exclusive_sessions):
    begun = []
    event.listen(exclusive_sessions, "after_begin", lambda *_: begun.append(1))
    flush(client)
    assert begun == []


def test_uses_survive_an_outage_and_requests_do_not_notice(client, key_id, uses, read_key, monkeypatch):
    def fail(_used_at):
        raise exc.OperationalError("UPDATE", {}, OSError("server closed the connection"))

    client.get("/api/users")
    with monkeypatch.context() as patched:
        patched.setattr(uses, "_store", fail)
        flush(client)
        assert client.get("/api/users").status_code == 200
    assert set(uses._used_at) == {key_id}
    flush(client)
    assert read_key().last_used_at is not None
    assert uses._used_at == {}


def test_a_database_that_is_not_there_is_logged_and_hinders_no_stop(settings, capsys):
    nowhere = {"database_url": SecretStr("postgresql://127.0.0.1:1/nothing")}
    engine = make_engine(settings.model_copy(update=nowhere))
    key_id = uuid.uuid4()

    async def use_and_stop():
        uses = KeyUses(make_sessions(engine), pause=settings.key_use_flush)
        uses.note(key_id)
        uses.close()
        await uses.run()
        return uses

    assert set(anyio.run(use_and_stop)._used_at) == {key_id}
    assert capsys.readouterr().out.count("key uses not stored") == 1


def test_a_use_during_a_failing_flush_is_the_one_that_counts(client, key_id, uses, monkeypatch):
    def fail(_used_at):
        uses.note(key_id)
        raise exc.OperationalError("UPDATE", {}, OSError("server closed the connection"))

    client.get("/api/users")
    earlier = uses._used_at[key_id]
    monkeypatch.setattr(uses, "_store", fail)
    flush(client)
    assert uses._used_at[key_id] > earlier


def test_an_older_use_changes_nothing_and_a_deleted_key_harms_nobody(sessions, key_id, read_key):
    latest = datetime.now(UTC)
    for used_at in (latest, latest - timedelta(minutes=1)):
        with unit_of_work(sessions) as session:
            record_use(session, {uuid.uuid4(): used_at, key_id: used_at})
    assert read_key().last_used_at == latest


@pytest.mark.parametrize("setting_overrides", [{"key_use_flush": 0.05}])
def test_a_running_server_flushes_now_and_then(served, factories, committed_sessions):
    served.client.get("/api/users")
    wait_until(lambda: last_used(committed_sessions, factories))


def test_a_server_that_stops_flushes_once_more(served, factories, committed_sessions):
    served.client.get("/api/users")
    assert last_used(committed_sessions, factories) is None
    served.server.should_exit = True
    wait_until(lambda: last_used(committed_sessions, factories))


def last_used(sessions, factories):
    with sessions() as session:
        return session.get_one(ApiKey, factories.default_principal().key_id).last_used_at

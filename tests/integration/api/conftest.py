"""The API as its callers see it: in this process for requests, on a port of its own for streams."""

import dataclasses
import logging
import threading
from collections.abc import Callable, Generator, MutableMapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from typing import Any, Final, Self

import httpx2
import pytest
import structlog
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient
from structlog.testing import LogCapture

from api.app import create_app
from api.auth import KeyCache
from api.key_uses import KeyUses
from api.resources import Resources
from api.shared_transactions import shared_cancels, shared_creates
from api.streaming.streams import StreamHub
from shared.db import Sessions, unit_of_work
from shared.keys import service as keys
from shared.lifecycle import RunStatus
from shared.models import KeyScope, Run
from shared.settings import Settings
from tests.integration.api.browsing import Browser
from tests.integration.api.serving import Served, serving
from tests.support.dispatching import RecordingDispatcher
from tests.support.factories import Factories

TURN_TIMEOUT: Final = 30.0  # seconds


class Exclusive(Session):
    """A session that waits until no other is open: all of a test share one connection and its savepoints."""

    turn: Final = threading.Lock()

    def __enter__(self) -> Self:
        assert self.turn.acquire(timeout=TURN_TIMEOUT), "another session of the application stayed open"
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        try:
            super().__exit__(*error)
        finally:
            self.turn.release()


@lru_cache(maxsize=4)
def application(settings: Settings) -> FastAPI:
    """The application of some settings. Each FastAPI application analyses a route when it is first asked."""
    return create_app(settings)


@pytest.fixture
def new_application() -> None:
    """Have an application made for the test, of which nothing has been asked before."""
    application.cache_clear()


@contextmanager
def lent_application(settings: Settings) -> Generator[FastAPI]:
    """Lend the application of some settings; all that is set of its state in the block goes with it."""
    app = application(settings)
    fresh = dict(app.state._state)
    try:
        yield app
    finally:
        app.state._state.clear()
        app.state._state.update(fresh)


@pytest.fixture
def exclusive_sessions(sessions: Sessions) -> Sessions:
    """The test's sessions, one at a time: for an application, whose threads read streams beside requests."""
    return sessionmaker(class_=Exclusive, **sessions.kw)


@pytest.fixture
def factories(request: pytest.FixtureRequest, dispatcher: RecordingDispatcher) -> Factories:
    """Rows in the database the test uses; a read of a stream that was left may be under way beside them."""
    committed = any(name.startswith("committed_") for name in request.fixturenames)
    name = "committed_sessions" if committed else "exclusive_sessions"
    return Factories(request.getfixturevalue(name), dispatcher)


@pytest.fixture
def anonymous(
    settings: Settings, exclusive_sessions: Sessions, dispatcher: RecordingDispatcher
) -> Generator[TestClient]:
    """A client without a key; what its requests commit, the test rolls back."""
    with lent_application(settings) as app, TestClient(app) as client:
        made: Resources = app.state.resources
        readers, keys, budget = made.lanes.streams, made.key_watch, made.budget
        sessions = exclusive_sessions
        app.state.resources = dataclasses.replace(
            made,
            sessions=sessions,
            readings=sessions,
            hub=StreamHub.make(settings, sessions, made.subscriber, readers, keys=keys, budget=budget),
            keys=KeyCache(sessions, ttl=settings.key_cache_ttl, refusals=settings.key_refusals),
            key_uses=KeyUses(sessions, pause=settings.key_use_flush),
            dispatcher=dispatcher,
            creates=shared_creates(sessions, dispatcher, made.lanes.together),
            cancels=shared_cancels(sessions, dispatcher, made.lanes.together),
        )
        yield client


@pytest.fixture
def secret(factories: Factories) -> str:
    """The key of the organization whose rows the factories make by default."""
    factories._principal, secret = factories.principal_and_secret()
    return secret


@pytest.fixture
def client(anonymous: TestClient, secret: str) -> httpx2.Client:
    """A client with a key."""
    anonymous.headers["Authorization"] = f"Bearer {secret}"
    return anonymous


@pytest.fixture
def as_stranger(client: httpx2.Client, factories: Factories) -> dict[str, str]:
    """The headers of another organization's member."""
    _, secret = factories.principal_and_secret()
    return {"Authorization": f"Bearer {secret}"}


@pytest.fixture
def undone(sessions: Sessions) -> Callable[[], AbstractContextManager[None]]:
    """What requests change is undone at the end of the block: the next ones find things as they were."""

    @contextmanager
    def undone() -> Generator[None]:
        savepoint = sessions.kw["bind"].begin_nested()
        try:
            yield
        finally:
            with Exclusive.turn:
                savepoint.rollback()

    return undone


@pytest.fixture
def create_run(client: httpx2.Client, make_assistant: Callable[..., Any]) -> Callable[..., httpx2.Response]:
    """POST a run of an assistant made for it."""

    def create(content: bytes | None = None, **fields: Any) -> httpx2.Response:
        path = f"/api/assistants/{make_assistant().id}/runs"
        return client.post(path, content=content) if content is not None else client.post(path, json=fields)

    return create


@pytest.fixture
def served(committed_settings: Settings, secret: str) -> Generator[Served]:
    """The API on a port of its own, over a database of its own."""
    with serving(committed_settings, secret=secret) as served:
        yield served


@pytest.fixture
def served_without_redis(committed_settings: Settings, secret: str) -> Generator[Served]:
    """The same, with nothing listening where Redis should be."""
    nowhere = {"redis_url": SecretStr("redis://127.0.0.1:1/0")}
    with serving(committed_settings.model_copy(update=nowhere), secret=secret) as served:
        yield served


@pytest.fixture
def request_lines(monkeypatch: pytest.MonkeyPatch) -> Sequence[MutableMapping[str, Any]]:
    """What the log says of each request that is over."""
    capture = LogCapture()
    logger = structlog.wrap_logger(
        None, processors=[capture], wrapper_class=structlog.make_filtering_bound_logger(logging.INFO)
    )
    monkeypatch.setattr("api.middleware.log", logger)
    return capture.entries


@pytest.fixture
def held_run(committed_sessions: Sessions, factories: Factories) -> Generator[Run]:
    """A structure run whose row somebody holds for the whole test: whoever reports of it has to wait."""
    run = factories.structure_run(status=RunStatus.RUNNING)
    with committed_sessions() as session:
        session.execute(select(Run.id).where(Run.id == run.id).with_for_update())
        yield run


@pytest.fixture
def browser(anonymous: TestClient, secret: str) -> Browser:
    """A browser with a session of the factories' key."""
    browser = Browser(anonymous)
    browser.sign_in(secret)
    return browser


@pytest.fixture
def narrow(anonymous: TestClient, factories: Factories, sessions: Sessions) -> Callable[[KeyScope], Browser]:
    """A browser with a session of a key of some scope, in the organization of the factories."""

    def narrow(scope: KeyScope) -> Browser:
        principal = factories.default_principal()
        with unit_of_work(sessions) as session:
            _, secret = keys.create_key(
                session,
                organization_id=principal.organization_id,
                user_id=principal.user_id,
                name="narrow",
                scope=scope,
            )
        browser = Browser(anonymous)
        browser.sign_in(secret)
        return browser

    return narrow

"""What the process holds for all requests: made when it starts, closed when it ends."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool

from api.auth import KeyCache
from api.budget import Budget
from api.key_uses import KeyUses
from api.key_watch import KeyWatch
from api.readiness import Readiness
from api.streams import StreamHub
from api.subscriber import Subscriber
from api.waiting import Waiting
from shared.celery_app import make_celery
from shared.db import Sessions, make_engine, make_sessions
from shared.dispatch import Dispatcher
from shared.quotas import Quotas
from shared.settings import Settings
from shared.vitals import Vitals


@dataclass(frozen=True, slots=True)
class Resources:
    """The engine and the clients of one API process."""

    engine: Engine
    sessions: Sessions
    dispatcher: Dispatcher
    keys: KeyCache
    key_uses: KeyUses
    key_watch: KeyWatch
    subscriber: Subscriber
    hub: StreamHub
    waiting: Waiting
    readiness: Readiness
    quotas: Quotas
    budget: Budget
    vitals: Vitals

    def let_go(self) -> None:
        """End every stream and every wait; their callers go on elsewhere."""
        self.hub.close()
        self.waiting.close()


@asynccontextmanager
async def open_resources(settings: Settings) -> AsyncGenerator[Resources]:
    """Make the resources of a process; neither PostgreSQL nor Redis has to be there yet."""
    engine = make_engine(settings)
    sessions = make_sessions(engine)
    celery = make_celery(settings)
    dispatcher = Dispatcher.make(settings, celery)
    subscriber = Subscriber.make(settings)
    key_watch = KeyWatch.make(settings, sessions)
    budget = Budget()
    hub = StreamHub.make(settings, sessions, subscriber, key_watch, budget)
    waiting = Waiting.make(settings, sessions, subscriber, key_watch)
    key_uses = KeyUses.make(settings, sessions)
    vitals = Vitals()
    listening = [
        vitals.create_task("subscriber", subscriber.run()),
        vitals.create_task("waiting", waiting.run()),
        vitals.create_task("key-watch", key_watch.run()),
    ]
    recording = vitals.create_task("key-uses", key_uses.run())
    try:
        yield Resources(
            engine=engine,
            sessions=sessions,
            dispatcher=dispatcher,
            keys=KeyCache(sessions, ttl=settings.key_cache_ttl),
            key_uses=key_uses,
            key_watch=key_watch,
            subscriber=subscriber,
            hub=hub,
            waiting=waiting,
            readiness=Readiness(engine),
            quotas=Quotas.of(settings),
            budget=budget,
            vitals=vitals,
        )
    finally:
        vitals.close()
        hub.close()
        waiting.close()
        for task in listening:
            task.cancel()
            await asyncio.wait({task})  # one that died long ago has told so
        key_uses.close()
        await asyncio.wait({recording})
        await run_in_threadpool(dispatcher.close)
        celery.close()
        engine.dispose()

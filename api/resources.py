"""What the process holds for all requests: made when it starts, closed when it ends."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool

from api.auth import KeyCache
from api.key_uses import KeyUses
from api.readiness import Readiness
from api.streams import StreamHub
from api.subscriber import Subscriber
from api.waiting import Waiting
from shared.celery_app import make_celery
from shared.db import Sessions, make_engine, make_sessions
from shared.dispatch import Dispatcher
from shared.settings import Settings
from shared.structures.variables import VariableRule


@dataclass(frozen=True, slots=True)
class Resources:
    """The engine and the clients of one API process."""

    engine: Engine
    sessions: Sessions
    dispatcher: Dispatcher
    keys: KeyCache
    key_uses: KeyUses
    subscriber: Subscriber
    hub: StreamHub
    waiting: Waiting
    readiness: Readiness
    variable_rule: VariableRule

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
    hub = StreamHub.make(settings, sessions, subscriber)
    waiting = Waiting.make(settings, sessions, subscriber)
    key_uses = KeyUses.make(settings, sessions)
    listening = [asyncio.create_task(subscriber.run()), asyncio.create_task(waiting.run())]
    recording = asyncio.create_task(key_uses.run())
    try:
        yield Resources(
            engine=engine,
            sessions=sessions,
            dispatcher=dispatcher,
            keys=KeyCache(sessions, ttl=settings.key_cache_ttl),
            key_uses=key_uses,
            subscriber=subscriber,
            hub=hub,
            waiting=waiting,
            readiness=Readiness(engine),
            variable_rule=VariableRule.of(settings),
        )
    finally:
        hub.close()
        waiting.close()
        for task in listening:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        key_uses.close()
        await recording
        await run_in_threadpool(dispatcher.close)
        celery.close()
        engine.dispose()

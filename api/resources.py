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
from api.lanes import KEY_LOOKUPS, UPKEEP, Lanes, connections_for_tenants, session_limits
from api.readiness import Readiness
from api.streams import StreamHub
from api.subscriber import Subscriber
from api.waiting import Waiting
from shared.celery_app import make_celery
from shared.db import Sessions, make_engine, make_sessions
from shared.dispatch import Dispatcher
from shared.quotas import Quotas
from shared.settings import Settings
from shared.structures.variables import VariableRule
from shared.vitals import Vitals


@dataclass(frozen=True, slots=True)
class Resources:
    """The engines and the clients of one API process; tenants' work never takes what upkeep needs."""

    engine: Engine
    upkeep_engine: Engine
    sessions: Sessions
    lanes: Lanes
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
    variable_rule: VariableRule

    def let_go(self) -> None:
        """End every stream and every wait; their callers go on elsewhere."""
        self.hub.close()
        self.waiting.close()


@asynccontextmanager
async def open_resources(settings: Settings) -> AsyncGenerator[Resources]:
    """Make the resources of a process; neither PostgreSQL nor Redis has to be there yet."""
    limits = session_limits(settings)
    engine = make_engine(settings, pool_size=connections_for_tenants(settings), limits=limits)
    upkeep_engine = make_engine(settings, pool_size=UPKEEP + KEY_LOOKUPS, limits=limits)
    sessions, upkeep_sessions = make_sessions(engine), make_sessions(upkeep_engine)
    lanes = Lanes.make(settings)
    lanes.provide_threads()
    celery = make_celery(settings)
    dispatcher = Dispatcher.make(settings, celery)
    subscriber = Subscriber.make(settings)
    key_watch = KeyWatch.make(settings, upkeep_sessions)
    budget = Budget()
    hub = StreamHub.make(settings, sessions, subscriber, lanes.streams, keys=key_watch, budget=budget)
    waiting = Waiting.make(settings, upkeep_sessions, subscriber, key_watch)
    key_uses = KeyUses.make(settings, upkeep_sessions)
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
            upkeep_engine=upkeep_engine,
            sessions=sessions,
            lanes=lanes,
            dispatcher=dispatcher,
            keys=KeyCache(
                upkeep_sessions,
                ttl=settings.key_cache_ttl,
                lookups=lanes.keys,
                refusals=settings.key_refusals,
            ),
            key_uses=key_uses,
            key_watch=key_watch,
            subscriber=subscriber,
            hub=hub,
            waiting=waiting,
            readiness=Readiness(upkeep_engine),
            quotas=Quotas.of(settings),
            budget=budget,
            vitals=vitals,
            variable_rule=VariableRule.of(settings),
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
        upkeep_engine.dispose()

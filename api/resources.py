"""The resources of an API process: engines, clients, limits and background tasks."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool

from api.auth import KeyCache
from api.key_uses import KeyUses
from api.key_watch import KeyWatch
from api.readiness import Readiness
from api.shared_transactions import SharedTransactions, shared_cancels, shared_creates
from api.streaming.run_watch import RunWatch
from api.streaming.streams import StreamHub
from api.streaming.subscriber import Subscriber
from api.streaming.waiting import RunWaiter
from api.traffic.budget import Budget
from api.traffic.lanes import KEY_LOOKUPS, UPKEEP, Lanes, connections_for_tenants
from shared.assistants.acceptance import Accepted, Offer
from shared.celery_app import make_celery
from shared.db import Sessions, for_reading, make_engine, make_sessions
from shared.dispatch.dispatcher import Dispatcher
from shared.models import Run
from shared.organizations.quotas import Quotas
from shared.processes.vitals import Vitals
from shared.runs.together import Cancel
from shared.settings import Settings
from shared.structures.variables import VariableRule


@dataclass(frozen=True, slots=True)
class Resources:
    """The engines and the clients of one API process; tenants' work never takes what upkeep needs."""

    engine: Engine
    upkeep_engine: Engine
    sessions: Sessions
    readings: Sessions
    lanes: Lanes
    dispatcher: Dispatcher
    creates: SharedTransactions[Offer, Accepted]
    cancels: SharedTransactions[Cancel, Run]
    keys: KeyCache
    key_uses: KeyUses
    key_watch: KeyWatch
    run_watch: RunWatch
    subscriber: Subscriber
    hub: StreamHub
    waiter: RunWaiter
    readiness: Readiness
    quotas: Quotas
    budget: Budget
    vitals: Vitals
    variable_rule: VariableRule


@asynccontextmanager
async def open_resources(settings: Settings) -> AsyncGenerator[Resources]:
    """Make the resources of a process; neither PostgreSQL nor Redis has to be there yet."""
    # PostgreSQL itself ends transactions at these limits.
    limits = {"lock_timeout": settings.lock_timeout, "statement_timeout": settings.statement_timeout}
    engine = make_engine(settings, pool_size=connections_for_tenants(settings), limits=limits)
    upkeep_engine = make_engine(settings, pool_size=UPKEEP + KEY_LOOKUPS, limits=limits)
    sessions, upkeep_sessions = make_sessions(engine), make_sessions(upkeep_engine)
    readings, upkeep_readings = for_reading(sessions), for_reading(upkeep_sessions)
    lanes = Lanes.make(settings)
    lanes.provide_threads()
    celery = make_celery(settings)
    dispatcher = Dispatcher.make(settings, celery)
    run_watch = RunWatch(upkeep_readings, reread=settings.stream_reread)
    subscriber = Subscriber.make(settings, run_watch)
    key_watch = KeyWatch(upkeep_readings, pause=settings.key_cache_ttl)
    budget = Budget()
    hub = StreamHub.make(settings, readings, subscriber, lanes.streams, keys=key_watch, budget=budget)
    waiter = RunWaiter(subscriber, key_watch)
    key_uses = KeyUses(upkeep_sessions, pause=settings.key_use_flush)
    vitals = Vitals()
    listening = [
        vitals.create_task("subscriber", subscriber.run()),
        vitals.create_task("run-watch", run_watch.run()),
        vitals.create_task("key-watch", key_watch.run()),
    ]
    recording = vitals.create_task("key-uses", key_uses.run())
    try:
        yield Resources(
            engine=engine,
            upkeep_engine=upkeep_engine,
            sessions=sessions,
            readings=readings,
            lanes=lanes,
            dispatcher=dispatcher,
            creates=shared_creates(sessions, dispatcher, lanes.together),
            cancels=shared_cancels(sessions, dispatcher, lanes.together),
            keys=KeyCache(
                upkeep_readings,
                ttl=settings.key_cache_ttl,
                lookups=lanes.keys,
                refusals=settings.key_refusals / settings.api_processes,
            ),
            key_uses=key_uses,
            key_watch=key_watch,
            run_watch=run_watch,
            subscriber=subscriber,
            hub=hub,
            waiter=waiter,
            readiness=Readiness(upkeep_engine),
            quotas=Quotas.of(settings),
            budget=budget,
            vitals=vitals,
            variable_rule=VariableRule.of(settings),
        )
    finally:
        vitals.close()
        hub.close()
        waiter.close()
        for task in listening:
            task.cancel()
            await asyncio.wait({task})  # one that died long ago has told so
        key_uses.close()
        await asyncio.wait({recording})
        await run_in_threadpool(dispatcher.close)
        celery.close()
        engine.dispose()
        upkeep_engine.dispose()

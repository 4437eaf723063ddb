"""The dependencies of endpoints, as annotated types."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, Protocol, TypeVar

from anyio import CancelScope, CapacityLimiter, to_thread
from fastapi import BackgroundTasks, Depends, Request
from sqlalchemy.orm import Session
from starlette.requests import ClientDisconnect

from api.auth import documented_bearer
from api.lists import Lists
from api.resources import Resources
from api.streaming.streams import StreamHub
from api.streaming.waiting import RunWaiter
from api.traffic.admission import Gate
from shared.db import Sessions, run_after_commit, unit_of_work
from shared.dispatch.dispatcher import Dispatcher
from shared.keys.principal import Principal
from shared.organizations.quotas import Quotas
from shared.structures.variables import VariableRule
from shared.terms import Terms

Read = TypeVar("Read")


class Reader(Protocol):
    """Runs a query that only reads, when it is its turn."""

    async def __call__(self, query: Callable[[Session], Read]) -> Read: ...


def resources_of(request: Request) -> Resources:
    """Return the resources of the process that serves a request."""
    resources: Resources = request.app.state.resources
    return resources


def _get(read: Callable[[Resources], Read]) -> Callable[[Request], Awaitable[Read]]:
    """Make a dependency of one of the resources."""

    async def get(request: Request) -> Read:
        return read(resources_of(request))

    return get


async def _principal(request: Request, _credentials: Annotated[Any, Depends(documented_bearer)]) -> Principal:
    principal: Principal = request.state.principal  # from `KeyedRoute`, before the body was read
    return principal


PrincipalDep = Annotated[Principal, Depends(_principal)]


async def _session(
    request: Request, principal: PrincipalDep, after_answer: BackgroundTasks
) -> AsyncGenerator[Session]:
    """One transaction a request: committed, then answered, then followed by what it asked for.

    The request has waited for its turn before. The sends are last, so that the caller does not wait
    behind them for the interpreter.
    """
    resources = resources_of(request)
    has_turn = turn(resources.lanes.requests, request, principal)
    async with has_turn, _transaction(resources, after_answer) as session:
        yield session


async def _cancel_session(
    request: Request, principal: PrincipalDep, after_answer: BackgroundTasks
) -> AsyncGenerator[Session]:
    """As `_session`, in the lane that no other request stands in."""
    resources = resources_of(request)
    has_turn = turn(resources.lanes.cancels, request, principal)
    async with has_turn, _transaction(resources, after_answer) as session:
        yield session


async def _sessions(request: Request, principal: PrincipalDep) -> AsyncGenerator[Sessions]:
    resources = resources_of(request)
    async with turn(resources.lanes.requests, request, principal):
        yield resources.sessions


async def _cancel_sessions(request: Request, principal: PrincipalDep) -> AsyncGenerator[Sessions]:
    resources = resources_of(request)
    async with turn(resources.lanes.cancels, request, principal):
        yield resources.sessions


@asynccontextmanager
async def turn(lane: Gate, request: Request, principal: Principal) -> AsyncGenerator[None]:
    """Wait for a request's turn, and hold it during the block.

    Raises:
        OverloadedError: there was no turn in time.
        ClientDisconnect: the caller has left meanwhile; nothing is done for those who are gone.
    """
    async with lane.admit(principal.tenant) as has_waited:
        if has_waited and await request.is_disconnected():
            raise ClientDisconnect
        yield


@asynccontextmanager
async def _transaction(resources: Resources, after_answer: BackgroundTasks) -> AsyncGenerator[Session]:
    """Enter a transaction at once and leave it in a thread: only its end meets the database.

    FastAPI would take a thread for both. Like FastAPI's, the thread is none of those that endpoints
    share: they may all be waiting for the very connection that is given back here.
    """

    async def leave(*error: Any) -> None:
        with CancelScope(shield=True):
            await to_thread.run_sync(unit.__exit__, *error, limiter=CapacityLimiter(1))

    async def follow_up(session: Session) -> None:
        run_after_commit(session)  # puts into queues, so that it needs no thread

    unit = resources.sessions.begin()
    session = unit.__enter__()
    try:
        after_answer.add_task(follow_up, session)
        yield session
    except BaseException as error:
        await leave(type(error), error, error.__traceback__)
        raise
    else:
        await leave(None, None, None)


async def _reader(request: Request, principal: PrincipalDep) -> Reader:
    resources = resources_of(request)

    async def read(query: Callable[[Session], Read]) -> Read:
        def in_a_session() -> Read:
            with unit_of_work(resources.readings) as session:
                return query(session)

        return await resources.lanes.requests.run(principal.tenant, in_a_session)

    return read


def terms_of(request: Request) -> Terms:
    """Return the operator's terms."""
    terms: Terms = request.app.state.terms
    return terms


async def _terms(request: Request) -> Terms:
    return terms_of(request)


# scope="function": commit, then answer; FastAPI's default answers first.
SessionDep = Annotated[Session, Depends(_session, scope="function")]
ListsDep = Annotated[
    Lists,
    Depends(_get(lambda resources: Lists(resources.sessions, resources.lanes.streams, resources.budget))),
]
QuotasDep = Annotated[Quotas, Depends(_get(lambda resources: resources.quotas))]
CancelSessionDep = Annotated[Session, Depends(_cancel_session, scope="function")]
"""For what ends runs: never behind requests that begin or read some."""

CancelSessionsDep = Annotated[Sessions, Depends(_cancel_sessions, scope="function")]
"""The same, for work of several transactions, one at a time."""

SessionsDep = Annotated[Sessions, Depends(_sessions, scope="function")]
"""For work of several transactions, one at a time, that begins runs."""

ReaderDep = Annotated[Reader, Depends(_reader)]
"""For those who wait between two reads, and hold nothing meanwhile."""

DispatcherDep = Annotated[Dispatcher, Depends(_get(lambda resources: resources.dispatcher))]

TermsDep = Annotated[Terms, Depends(_terms)]
"""What the operator lets callers ask for."""

VariableRuleDep = Annotated[VariableRule, Depends(_get(lambda resources: resources.variable_rule))]
HubDep = Annotated[StreamHub, Depends(_get(lambda resources: resources.hub))]
WaiterDep = Annotated[RunWaiter, Depends(_get(lambda resources: resources.waiter))]

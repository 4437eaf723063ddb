"""What endpoints ask for, as annotated names."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from typing import Annotated, Any, Protocol, TypeVar

from anyio import CancelScope, CapacityLimiter, to_thread
from fastapi import BackgroundTasks, Depends, Request
from sqlalchemy.orm import Session
from starlette.requests import ClientDisconnect

from api.admission import Gate
from api.auth import bearer
from api.lists import Lists
from api.resources import Resources
from api.streams import StreamHub
from api.waiting import Waiting
from shared.db import Sessions, run_after_commit, unit_of_work
from shared.dispatch import Dispatcher
from shared.keys.principal import Principal
from shared.quotas import Quotas
from shared.structures.variables import VariableRule
from shared.terms import Terms

Read = TypeVar("Read")


class Reader(Protocol):
    """Runs a query in a transaction of its own, when it is its turn."""

    async def __call__(self, query: Callable[[Session], Read]) -> Read: ...


def _resources(request: Request) -> Resources:
    resources: Resources = request.app.state.resources
    return resources


async def _principal(request: Request, _credentials: Annotated[Any, Depends(bearer)]) -> Principal:
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
    resources = _resources(request)
    async with _turn(resources.lanes.requests, request, principal), _transaction(resources) as session:
        after_answer.add_task(_follow_up, session)
        yield session


async def _cancel_session(
    request: Request, principal: PrincipalDep, after_answer: BackgroundTasks
) -> AsyncGenerator[Session]:
    """As `_session`, in the lane that no other request stands in."""
    resources = _resources(request)
    async with _turn(resources.lanes.cancels, request, principal), _transaction(resources) as session:
        after_answer.add_task(_follow_up, session)
        yield session


async def _cancel_sessions(request: Request, principal: PrincipalDep) -> AsyncGenerator[Sessions]:
    resources = _resources(request)
    async with _turn(resources.lanes.cancels, request, principal):
        yield resources.sessions


@asynccontextmanager
async def _turn(lane: Gate, request: Request, principal: Principal) -> AsyncGenerator[None]:
    """Wait for a request's turn, and hold it during the block.

    Raises:
        OverloadedError: there was no turn in time.
        ClientDisconnect: the caller has left meanwhile; nothing is done for those who are gone.
    """
    async with lane.admit(principal.tenant) as has_waited:
        if has_waited and await request.is_disconnected():
            raise ClientDisconnect
        yield


def _transaction(resources: Resources) -> AbstractAsyncContextManager[Session]:
    return _left_in_thread(resources.sessions.begin())


async def _follow_up(session: Session) -> None:
    run_after_commit(session)  # puts into queues, so that it needs no thread


@asynccontextmanager
async def _left_in_thread(unit: AbstractContextManager[Session]) -> AsyncGenerator[Session]:
    """Enter a transaction at once and leave it in a thread: only its end meets the database.

    FastAPI would take a thread for both. Like FastAPI's, the thread is none of those that endpoints
    share: they may all be waiting for the very connection that is given back here.
    """

    async def leave(error: BaseException | None) -> None:
        with CancelScope(shield=True):
            await to_thread.run_sync(_leave, unit, error, limiter=CapacityLimiter(1))

    session = unit.__enter__()
    try:
        yield session
    except BaseException as error:
        await leave(error)
        raise
    else:
        await leave(None)


def _leave(unit: AbstractContextManager[Session], error: BaseException | None) -> None:
    if error is None:
        unit.__exit__(None, None, None)
    else:
        unit.__exit__(type(error), error, error.__traceback__)


async def _dispatcher(request: Request) -> Dispatcher:
    return _resources(request).dispatcher


async def _reader(request: Request, principal: PrincipalDep) -> Reader:
    resources = _resources(request)

    async def read(query: Callable[[Session], Read]) -> Read:
        def in_a_transaction() -> Read:
            with unit_of_work(resources.sessions) as session:
                return query(session)

        return await resources.lanes.requests.run(principal.tenant, in_a_transaction)

    return read


async def _sessions(request: Request) -> Sessions:
    return _resources(request).sessions


async def _terms(request: Request) -> Terms:
    terms: Terms = request.app.state.terms
    return terms


async def _hub(request: Request) -> StreamHub:
    return _resources(request).hub


async def _waiting(request: Request) -> Waiting:
    return _resources(request).waiting


async def _lists(request: Request) -> Lists:
    resources = _resources(request)
    return Lists(resources.sessions, resources.lanes.streams, resources.budget)


async def _quotas(request: Request) -> Quotas:
    return _resources(request).quotas


async def _variable_rule(request: Request) -> VariableRule:
    return _resources(request).variable_rule


# scope="function": commit, then answer; FastAPI's default answers first.
SessionDep = Annotated[Session, Depends(_session, scope="function")]
ListsDep = Annotated[Lists, Depends(_lists)]
QuotasDep = Annotated[Quotas, Depends(_quotas)]
CancelSessionDep = Annotated[Session, Depends(_cancel_session, scope="function")]
"""For what ends runs: never behind requests that begin or read some."""

CancelSessionsDep = Annotated[Sessions, Depends(_cancel_sessions, scope="function")]
"""The same, for work of several transactions, one at a time."""

ReaderDep = Annotated[Reader, Depends(_reader)]
"""For those who wait between two reads, and hold nothing meanwhile."""

DispatcherDep = Annotated[Dispatcher, Depends(_dispatcher)]
SessionsDep = Annotated[Sessions, Depends(_sessions)]
"""For what is read while an answer is being sent, in a lane of its own; an endpoint has `SessionDep`."""

TermsDep = Annotated[Terms, Depends(_terms)]
"""What the operator lets callers ask for."""

VariableRuleDep = Annotated[VariableRule, Depends(_variable_rule)]
HubDep = Annotated[StreamHub, Depends(_hub)]
WaitingDep = Annotated[Waiting, Depends(_waiting)]

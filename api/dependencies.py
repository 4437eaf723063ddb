"""What endpoints ask for, as annotated names."""

from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Annotated, Any

from anyio import CancelScope, CapacityLimiter, to_thread
from fastapi import BackgroundTasks, Depends, Request
from sqlalchemy.orm import Session

from api.auth import bearer
from api.resources import Resources
from api.streams import StreamHub
from api.waiting import Waiting
from shared.db import Sessions, run_after_commit
from shared.dispatch import Dispatcher
from shared.errors import ForbiddenError
from shared.keys.principal import Principal
from shared.structures.variables import VariableRule


def _resources(request: Request) -> Resources:
    resources: Resources = request.app.state.resources
    return resources


async def _session(request: Request, after_answer: BackgroundTasks) -> AsyncGenerator[Session]:
    """One transaction a request: committed, then answered, then followed by what it asked for.

    The sends are last, so that the caller does not wait behind them for the interpreter.
    """
    async with _left_in_thread(_resources(request).sessions.begin()) as session:
        after_answer.add_task(_follow_up, session)
        yield session


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


async def _principal(request: Request, _credentials: Annotated[Any, Depends(bearer)]) -> Principal:
    principal: Principal = request.state.principal  # from `KeyedRoute`, before the body was read
    return principal


PrincipalDep = Annotated[Principal, Depends(_principal)]


async def _member(principal: PrincipalDep) -> Principal:
    if principal.run is not None:
        raise ForbiddenError("The key of a run manages no keys, users or organizations.")
    return principal


async def _dispatcher(request: Request) -> Dispatcher:
    return _resources(request).dispatcher


async def _sessions(request: Request) -> Sessions:
    return _resources(request).sessions


async def _hub(request: Request) -> StreamHub:
    return _resources(request).hub


async def _waiting(request: Request) -> Waiting:
    return _resources(request).waiting


async def _variable_rule(request: Request) -> VariableRule:
    return _resources(request).variable_rule


# scope="function": commit, then answer; FastAPI's default answers first.
SessionDep = Annotated[Session, Depends(_session, scope="function")]
MemberDep = Annotated[Principal, Depends(_member)]
"""A user, as opposed to a structure run that acts in a user's name."""

DispatcherDep = Annotated[Dispatcher, Depends(_dispatcher)]
SessionsDep = Annotated[Sessions, Depends(_sessions)]
"""For work of several transactions; with `SessionDep` beside it, a request would hold two connections."""

VariableRuleDep = Annotated[VariableRule, Depends(_variable_rule)]
HubDep = Annotated[StreamHub, Depends(_hub)]
WaitingDep = Annotated[Waiting, Depends(_waiting)]

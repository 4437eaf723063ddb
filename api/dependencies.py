"""What endpoints ask for, as annotated names."""

from collections.abc import Generator
from typing import Annotated, Any

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from api.auth import bearer
from api.resources import Resources
from api.streams import StreamHub
from shared.db import unit_of_work
from shared.dispatch import Dispatcher
from shared.keys.principal import Principal


def _resources(request: Request) -> Resources:
    resources: Resources = request.app.state.resources
    return resources


def _session(request: Request) -> Generator[Session]:
    with unit_of_work(_resources(request).sessions) as session:
        yield session


async def _principal(request: Request, _credentials: Annotated[Any, Depends(bearer)]) -> Principal:
    principal: Principal = request.state.principal  # from `KeyedRoute`, before the body was read
    return principal


async def _dispatcher(request: Request) -> Dispatcher:
    return _resources(request).dispatcher


async def _hub(request: Request) -> StreamHub:
    return _resources(request).hub


# scope="function": commit, then answer; FastAPI's default answers first.
SessionDep = Annotated[Session, Depends(_session, scope="function")]
PrincipalDep = Annotated[Principal, Depends(_principal)]
DispatcherDep = Annotated[Dispatcher, Depends(_dispatcher)]
HubDep = Annotated[StreamHub, Depends(_hub)]

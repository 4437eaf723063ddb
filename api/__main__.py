"""Start the HTTP server: `python -m api`."""

import signal
import socket
import sys
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI

from api.app import create_app
from api.resources import Resources
from shared.failures import plain_failures
from shared.processes.hidden import hide_memory
from shared.processes.ports import demand_free
from shared.settings import Settings
from shared.starting import begin, demand_schema

KEEP_ALIVE: Final = 75  # seconds; longer than a client's own idle limit, so that it is the one to close
GRACE: Final = 5  # seconds for requests that are under way when the process is told to stop

EX_UNFIT: Final = 70
"""The exit code of a process that is to be replaced by another. EX_SOFTWARE in sysexits.h."""


class Server(uvicorn.Server):
    """A server that ends its event streams first, so that their readers resume elsewhere at once."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.api_host,
                port=settings.api_port,
                loop="auto",  # uvloop where there is one
                http="httptools",
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,  # `RequestLog` has more to say
                server_header=False,
                proxy_headers=False,  # no answer depends on who asked from where
                timeout_keep_alive=KEEP_ALIVE,
                timeout_graceful_shutdown=GRACE,
            )
        )
        self._app = app
        self._has_given_up = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            resources: Resources = self._app.state.resources
            resources.vitals.on_death(self._give_up)

    @property
    def has_given_up(self) -> bool:
        """Whether it ended by itself, as it could no longer do all of its work."""
        return self._has_given_up

    def _give_up(self) -> None:
        self._has_given_up = self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        resources: Resources = self._app.state.resources
        resources.let_go()
        await super().shutdown(sockets)


def main() -> None:
    """Serve until SIGTERM or SIGINT; exit with 70 once something has died that the process lives by."""
    hide_memory()
    with plain_failures():
        settings = begin("api")
        demand_free("The API", settings.api_host, settings.api_port)
        demand_schema(settings)
    # uvicorn repeats the signal when it is done; by default that would look like a violent death.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    server = Server(create_app(settings), settings)
    server.run()
    if server.has_given_up:
        sys.exit(EX_UNFIT)


def _exit(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    main()

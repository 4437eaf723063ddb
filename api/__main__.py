"""Start the HTTP server: `python -m api`."""

import errno
import signal
import socket
import sys
import threading
import time
from math import ceil
from types import FrameType
from typing import Final

import structlog
import uvicorn
from fastapi import FastAPI

from api.app import create_app, make_documents, render_of
from api.door import Door
from api.http_protocol import GuardedProtocol, protocol_for
from api.resources import Resources
from shared.failures import plain_failures
from shared.processes.hidden import hide_memory
from shared.processes.ports import CannotListenError
from shared.settings import Settings
from shared.starting import begin, demand_schema

GRACE: Final = 5  # seconds for requests that are under way when the process is told to stop
BACKLOG: Final = 2048  # connections that wait to be accepted
NOT_HERE: Final = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}  # such as IPv6 on a machine without it
TICKS_A_SWEEP: Final = 10  # ticks are a tenth of a second apart
LONGEST_SWEEP: Final = 2.0
"""Seconds that count between two sweeps: what came while the loop was held up has not been read yet."""

log = structlog.get_logger(__name__)

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
                http=protocol_for(Door(settings, render_of)),
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,  # `RequestLog` has more to say
                server_header=False,
                proxy_headers=False,  # `Callers` has a way of its own
                timeout_keep_alive=ceil(settings.keep_alive.total_seconds()),
                timeout_graceful_shutdown=GRACE,
            )
        )
        self._app = app
        self._has_given_up = False
        self._swept_at = time.monotonic()

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

    async def on_tick(self, counter: int) -> bool:
        if counter % TICKS_A_SWEEP == 0:
            now = time.monotonic()
            seconds, self._swept_at = min(now - self._swept_at, LONGEST_SWEEP), now
            for connection in list(self.server_state.connections):
                if isinstance(connection, GuardedProtocol):
                    connection.sweep(seconds)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        resources: Resources = self._app.state.resources
        resources.let_go()
        await super().shutdown(sockets)


def main() -> None:
    """Serve until SIGTERM or SIGINT; exit with 70 once something has died that the process lives by."""
    hide_memory()
    with plain_failures():
        settings = begin("api")
        sockets = listen(settings.api_host, settings.api_port)
        demand_schema(settings)
    # uvicorn repeats the signal when it is done; by default that would look like a violent death.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    log.info("listening", addresses=[taken.getsockname()[:2] for taken in sockets])
    app = create_app(settings)
    # No daemon: a process that ends while it computes has to wait for it, or is aborted by its library.
    threading.Thread(target=make_documents, args=(app,), name="documents").start()
    server = Server(app, settings)
    server.run(sockets)
    if server.has_given_up:
        sys.exit(EX_UNFIT)


def listen(host: str, port: int) -> list[socket.socket]:
    """Take a port on every address of a host that this machine has, before anything else is begun.

    Raises:
        CannotListenError: it cannot be had.
    """
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, *_, address in dict.fromkeys(found):
            try:
                sockets.append(socket.create_server(address, family=family, backlog=BACKLOG))
            except OSError as error:
                if error.errno not in NOT_HERE:
                    raise
                missing = error
        if not sockets and missing is not None:
            raise missing
    except OSError as error:
        for taken in sockets:
            taken.close()
        raise CannotListenError("The API", host, port, error) from error
    return sockets


def _exit(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    main()

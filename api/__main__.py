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
from shared.logs import configure_logging
from shared.processes.hidden import hide_memory
from shared.settings import Settings, get_settings

KEEP_ALIVE: Final = 75  # seconds; longer than a client's own idle limit, so that it is the one to close
GRACE: Final = 5  # seconds for requests that are under way when the process is told to stop


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

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        resources: Resources = self._app.state.resources
        resources.let_go()
        await super().shutdown(sockets)


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    hide_memory()
    settings = get_settings()
    configure_logging(settings, process="api")
    # uvicorn repeats the signal when it is done; by default that would look like a violent death.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    Server(create_app(settings), settings).run()


def _exit(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    main()

"""Start the HTTP server: `python -m api`."""

import errno
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from math import ceil
from typing import Final

import structlog
import uvicorn
from fastapi import FastAPI

from api.app import create_app
from api.resources import Resources
from api.supervisor import Supervisor
from api.traffic.connection_limiter import ConnectionLimiter
from api.traffic.http_protocol import GuardedProtocol, protocol_for
from api.traffic.lanes import demand_pool
from shared.logs import configure_logging, flush_logs
from shared.processes import beats, exporter
from shared.processes.exporter import Exporter, token_of
from shared.processes.failures import plain_failures
from shared.processes.garbage import settle_garbage
from shared.processes.hidden import hide_memory
from shared.processes.metrics import OwnMetrics, SharedMetrics, Source, count_into
from shared.processes.ports import CannotListenError
from shared.processes.pulse import Fact, Kind, Limits, Part, Pulse
from shared.processes.silence import silence_limit
from shared.processes.starting import LEAST_SILENCE, begin, begin_pulse, demand_schema, probe_limit
from shared.settings import Settings

SHUTDOWN_TIMEOUT: Final = 5  # seconds for requests in progress when the process stops
BACKLOG: Final = 2048  # connections that wait to be accepted
NOT_HERE: Final = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}  # such as IPv6 on a machine without it
TICKS_PER_SWEEP: Final = 10  # ticks are a tenth of a second apart
MAX_SWEEP: Final = 2.0
"""Seconds that count between two sweeps: what came while the loop was held up has not been read yet."""

log = structlog.get_logger(__name__)

EX_UNFIT: Final = 70
"""The exit code of a process that is to be replaced by another. EX_SOFTWARE in sysexits.h."""


class Server(uvicorn.Server):
    """A server that ends its event streams first, so that their readers resume elsewhere at once."""

    def __init__(
        self,
        app: FastAPI,
        settings: Settings,
        pulse: Pulse | None = None,
        *,
        show_life: Callable[[], object] = lambda: None,
    ) -> None:
        """Make a server.

        Args:
            show_life: called about every second in which the loop turns; it may not block.
        """
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.api_host,
                port=settings.api_port,
                loop="auto",  # uvloop where there is one
                http=protocol_for(ConnectionLimiter(settings, app.state.dialects.render_of)),
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,  # `RequestLog` has more to say
                server_header=False,
                proxy_headers=False,  # `Callers` has a way of its own
                timeout_keep_alive=ceil(settings.keep_alive.total_seconds()),
                timeout_graceful_shutdown=SHUTDOWN_TIMEOUT,
            )
        )
        self._app = app
        self._pulse = pulse or Pulse.unseen()
        self._show_life = show_life
        self.has_given_up = False  # ended by itself: it could no longer do all of its work
        self._swept_at = time.monotonic()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            resources: Resources = self._app.state.resources

            def give_up() -> None:
                self.has_given_up = self.should_exit = True

            resources.vitals.on_death(give_up)

    async def on_tick(self, counter: int) -> bool:
        if counter % TICKS_PER_SWEEP == 0:
            self._pulse.beat(Fact.TURN)
            self._show_life()
            now = time.monotonic()
            seconds, self._swept_at = min(now - self._swept_at, MAX_SWEEP), now
            for connection in list(self.server_state.connections):
                if isinstance(connection, GuardedProtocol):
                    _sweep(connection, seconds)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        resources: Resources = self._app.state.resources
        resources.hub.close()  # callers of streams and of waits go on elsewhere
        resources.waiter.close()
        await super().shutdown(sockets)


def _sweep(connection: GuardedProtocol, seconds: float) -> None:
    """Check a connection's limits of time; one that cannot be checked is closed, and ends no other."""
    try:
        connection.sweep(seconds)
    except Exception:
        log.exception("connection closed: its limits could not be checked", client=connection.client)
        connection.abort()


def main() -> None:
    """Serve until SIGTERM or SIGINT; exit with 70 once a vital thread or task has died."""
    hide_memory()
    with plain_failures():
        settings = begin("api")
        demand_pool(settings)
        listeners = listen_for_all(settings.api_host, settings.api_port, settings.api_processes)
        scraped = exporter.listen(settings)
        demand_schema(settings)
        metrics = SharedMetrics.make() if settings.has_metrics and settings.api_processes > 1 else None
    if settings.api_processes == 1:
        serve(settings, listeners[0], metrics=OwnMetrics() if settings.has_metrics else None, scraped=scraped)
    else:
        supervise(settings, listeners, metrics=metrics, scraped=scraped)


def serve(
    settings: Settings,
    sockets: Sequence[socket.socket],
    *,
    metrics: Source | None = None,
    scraped: socket.socket | None = None,
    show_life: Callable[[], object] = lambda: None,
) -> None:
    """Serve on some sockets until a signal; exit with 70 as `main`.

    Args:
        metrics: what this process and its siblings count, if they count.
        scraped: the socket on which this process shows it, beside the API's own port.
        show_life: as that of `Server`.
    """
    # uvicorn repeats the signal when it is done; by default that would look like a violent death.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    log.info("listening", addresses=[taken.getsockname()[:2] for taken in sockets])
    app = create_app(settings, metrics=metrics)
    if metrics is not None and scraped is not None:
        Exporter(scraped, metrics, token=token_of(settings)).start()
    settle_garbage()
    pulse = begin_pulse(Kind.API, beats.this_process(), Limits(turn=probe_limit(settings)))
    server = Server(app, settings, pulse, show_life=show_life)
    server.run(list(sockets))
    pulse.close()
    if server.has_given_up:
        sys.exit(EX_UNFIT)


def supervise(
    settings: Settings,
    listeners: Sequence[Sequence[socket.socket]],
    *,
    metrics: SharedMetrics | None,
    scraped: socket.socket | None,
) -> None:
    """Keep a process for each group of sockets until a signal; exit with 70 if none can live.

    The first of the processes shows the metrics of all. Its successor does, if it dies.
    """

    def serve_as(number: int, sockets: Sequence[socket.socket], show_life: Callable[[], object]) -> None:
        configure_logging(settings, process="api", number=number)
        try:
            if metrics is not None:
                count_into(metrics.directory)
            own = scraped if number == 1 else None
            serve(settings, sockets, metrics=metrics, scraped=own, show_life=show_life)
        finally:
            flush_logs()

    settle_garbage()  # before the fork
    limits = Limits(turn=probe_limit(settings))
    pulse = begin_pulse(Kind.API, beats.this_process(), limits, part=Part.SUPERVISOR)
    on_death = metrics.tidy if metrics else lambda: None
    limit = max(LEAST_SILENCE, silence_limit(settings))
    supervisor = Supervisor(listeners, serve_as, pulse, silence_limit=limit, on_death=on_death)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stop())
    log.info("supervising", processes=len(listeners))
    try:
        was_stopped = supervisor.run()
    finally:
        pulse.close()
        if metrics is not None:
            metrics.close()
    if not was_stopped:
        sys.exit(EX_UNFIT)


def listen_for_all(host: str, port: int, processes: int) -> list[list[socket.socket]]:
    """Take a port for each of some processes.

    Raises:
        CannotListenError: it cannot be had, or another installation has it.
    """
    alone = listen(host, port)
    if processes == 1:
        return [alone]
    port = alone[0].getsockname()[1]
    for taken in alone:
        taken.close()
    return [listen(host, port, is_shared=True) for _ in range(processes)]


def listen(host: str, port: int, *, is_shared: bool = False) -> list[socket.socket]:
    """Take a port on every address of a host that this machine has, before anything else is begun.

    Args:
        is_shared: further sockets of this user may take the same port.

    Raises:
        CannotListenError: it cannot be had.
    """
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, *_, address in dict.fromkeys(found):
            try:
                sockets.append(
                    socket.create_server(address, family=family, backlog=BACKLOG, reuse_port=is_shared)
                )
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


if __name__ == "__main__":
    main()

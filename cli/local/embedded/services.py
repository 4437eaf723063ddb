"""PostgreSQL and Redis together, while a block runs."""

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cli.local.embedded.postgres import EmbeddedPostgres
from cli.local.embedded.redis import EmbeddedRedis
from cli.local.private_files import make_private_directory


@dataclass(frozen=True, slots=True)
class Services:
    """The two servers that Runyard needs."""

    postgres: EmbeddedPostgres
    redis: EmbeddedRedis


@contextmanager
def embedded_services(data_dir: Path, *, durable: bool = True) -> Generator[Services]:
    """Run both servers, each with its data in a private directory (0700) below `data_dir`.

    Args:
        data_dir: created if missing.
        durable: whether acknowledged writes survive a crash of the machine.

    Raises:
        DirectoryInUseError: another process runs servers on this directory.
        EmbeddedServiceError: a server does not start; neither keeps running.
    """
    make_private_directory(data_dir)
    services = Services(
        EmbeddedPostgres(data_dir / "postgres", durable=durable),
        EmbeddedRedis(data_dir / "redis", durable=durable),
    )
    with ExitStack() as stack:
        for server in (services.redis, services.postgres):
            stack.callback(server.stop)
            server.launch()
        services.redis.wait_ready()
        services.postgres.wait_ready()
        yield services

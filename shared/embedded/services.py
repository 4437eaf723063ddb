"""PostgreSQL and Redis together, for as long as a block runs."""

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from shared.embedded.postgres import EmbeddedPostgres
from shared.embedded.redis import EmbeddedRedis
from shared.private_files import make_private_directory


@dataclass(frozen=True, slots=True)
class Services:
    """The two servers that Runyard stands on."""

    postgres: EmbeddedPostgres
    redis: EmbeddedRedis


@contextmanager
def embedded_services(data_dir: Path, *, durable: bool = True) -> Generator[Services]:
    """Run both servers with their data under a directory, each in a private one (0700) of its own.

    Args:
        data_dir: made if it does not exist.
        durable: whether what they acknowledge survives a crash of the machine.

    Raises:
        DirectoryInUseError: another process runs servers on this directory.
        EmbeddedServiceError: one of them does not start; neither is left running.
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

"""A Redis that listens on a socket of the system, and on no port."""

import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from cli.local.embedded.redis import find_redis_server
from tests.support.guarding import started
from tests.support.waiting import wait_until


@contextmanager
def redis_on_a_socket(directory: Path) -> Generator[str]:
    """Start one; yields the path of its socket, as a URL has it."""
    path = directory / "redis here.sock"
    command = [str(find_redis_server()), "--port", "0", "--unixsocket", str(path), "--save", ""]
    process = started(command, cwd=directory, stdout=subprocess.DEVNULL)
    try:
        wait_until(path.exists, what="Redis to listen")
        yield str(path).replace(" ", "%20")
    finally:
        process.kill()
        process.wait(60)

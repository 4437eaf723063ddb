"""A real nginx before the API, with what the distribution sets and what nginx does by itself."""

import os
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx2
import pytest

from shared.processes.ports import LOOPBACK, free_port
from tests.support.guarding import started
from tests.support.waiting import wait_until

PLACES: Final = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])

READ_TIMEOUT: Final = 60.0
"""Seconds of silence after which nginx gives an answer up, unless told otherwise."""

CONFIGURATION: Final = """
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections 768; }}
http {{
    sendfile on;
    tcp_nopush on;
    types_hash_max_size 2048;
    default_type application/octet-stream;
    access_log off;
    gzip on;
    client_body_temp_path {directory}/bodies;
    proxy_temp_path {directory}/answers;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen {host}:{port};
        location {path}/ {{
            proxy_pass http://{host}:{upstream};
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_read_timeout {read_timeout}ms;
        }}
    }}
}}
"""
"""Debian's nginx.conf, without its folders. Buffering, HTTP/1.0 and all else are nginx's own defaults."""


@contextmanager
def running_nginx(
    directory: Path,
    upstream: int,
    *,
    path: str = "",
    takes_path_off: bool = False,
    read_timeout: float = READ_TIMEOUT,
) -> Generator[str]:
    """Start one before a port of loopback; skip the test if none is installed.

    Args:
        path: where it shows what is at the port.
        takes_path_off: whether it asks there without that path.
        read_timeout: seconds of silence after which it gives an answer up.

    Yields:
        The address that callers have of what is at the port.
    """
    program = shutil.which("nginx", path=PLACES)
    if program is None:
        pytest.skip("nginx is not installed")
    port = free_port()
    configuration = directory / "nginx.conf"
    configuration.write_text(
        CONFIGURATION.format(
            directory=directory,
            host=LOOPBACK,
            port=port,
            path=path,
            upstream=f"{upstream}/" if takes_path_off else upstream,
            read_timeout=round(read_timeout * 1000),
        )
    )
    log = directory / "nginx.log"
    with log.open("wb") as output:
        process = started(
            [program, "-p", str(directory), "-c", str(configuration), "-e", "stderr"],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        address = f"http://{LOOPBACK}:{port}{path}"
        wait_until(lambda: _answers(address), what=f"nginx, see {log}")
        yield address
    finally:
        process.kill()
        process.wait(60)


def _answers(address: str) -> bool:
    try:
        return bool(httpx2.get(f"{address}/health/live", timeout=2, trust_env=False).is_success)
    except httpx2.TransportError:
        return False

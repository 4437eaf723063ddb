"""TLS before a server that has none: certificates of an authority of our own, and a relay that shows them."""

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from shared.processes.ports import LOOPBACK

CHUNK: Final = 65_536


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that vouches for itself, and its key."""

    path: Path
    key_path: Path


def make_certificate(directory: Path, *, host: str) -> Certificate:
    """Make a certificate for a host's name or address; the test is skipped where there is no OpenSSL."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not installed")
    directory.mkdir(parents=True, exist_ok=True)
    made = Certificate(directory / "cert.pem", directory / "key.pem")
    kind = "IP" if host[0].isdecimal() else "DNS"
    request = [program, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
    options = ["-addext", f"subjectAltName={kind}:{host}", "-keyout", made.key_path, "-out", made.path]
    subprocess.run([*request, *options], check=True, capture_output=True)
    return made


@contextmanager
def encrypting(certificate: Certificate, port: int) -> Generator[int]:
    """Relay to a server on this machine what comes in by TLS; yields the port of the relay."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.path, certificate.key_path)
    with socket.create_server((LOOPBACK, 0)) as listener:
        threading.Thread(target=_accept, args=(listener, context, port), daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with suppress(OSError):  # closed
        while True:
            accepted, _ = listener.accept()
            threading.Thread(target=_relay, args=(accepted, context, port), daemon=True).start()


def _relay(accepted: socket.socket, context: ssl.SSLContext, port: int) -> None:
    """Carry bytes both ways in one thread: a TLS connection must not be read and written by two."""
    with (
        suppress(OSError),
        accepted,
        socket.create_connection((LOOPBACK, port)) as server,
        context.wrap_socket(accepted, server_side=True) as client,
    ):
        client.settimeout(0.005)
        server.settimeout(0.005)
        while _carry(client, server) and _carry(server, client):
            pass


def _carry(source: socket.socket, target: socket.socket) -> bool:
    """Carry what there is; say whether the source is still open."""
    try:
        data = source.recv(CHUNK)
    except TimeoutError:
        return True
    target.sendall(data)
    return bool(data)

"""What strangers without a key send to a server process, and how slowly."""

import contextlib
import json
import re
import resource
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.keys.service import new_secret
from tests.integration.api.serving import api_process, received
from tests.support.waiting import wait_until

HEADER_BYTES = 32_768
MEGABYTE = 1_000_000
TIMEOUT = 2  # seconds, for headers and bodies
LATE = 15
"""Seconds after which a test is sure that nothing will happen; the server's clocks tick once a second."""

HEAD = b"GET /api/users HTTP/1.1\r\nHost: x\r\n"
LIVE = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /health/live HTTP/1.1\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def settings_of_module(services, template_database):
    with services.cloned_database(template_database) as url:
        yield services.settings(database_url=url, redis_url=services.empty_redis())


@pytest.fixture(scope="module")
def process(settings_of_module):
    """A server with little patience; no test leaves anything behind in it."""
    with api_process(
        settings_of_module,
        secret="none",
        HEADER_TIMEOUT=str(TIMEOUT),
        BODY_TIMEOUT=str(TIMEOUT),
        WRITE_TIMEOUT="3",
    ) as process:
        yield process


@pytest.fixture(autouse=True)
def _still_serves(process):
    yield
    assert process.client.get("/health/live").status_code == 200
    assert "Traceback" not in process.log


def answers(raw):
    """The answers in what was received, each its status and its parsed body."""
    found = []
    while raw:
        head, _, rest = raw.partition(b"\r\n\r\n")
        status = int(head.split()[1])
        if status == 100:
            raw = rest
            continue
        headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        length = int(headers[b"content-length"])
        found.append((status, json.loads(rest[:length]) if length else None))
        raw = rest[length:]
    return found


def statuses(raw):
    return [status for status, _ in answers(raw)]


def sends_for_long(process, begin, piece, megabytes):
    """Send one piece after the other until the server has enough; return what it said."""
    with process.connect() as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(begin)
            for _ in range(megabytes * MEGABYTE // len(piece)):
                connection.sendall(piece)
        return received(connection)


@pytest.mark.parametrize(
    ("begin", "piece", "status"),
    [
        (HEAD, b"X-A: " + b"a" * 1000 + b"\r\n", 431),
        (HEAD, b"X-A: b\r\n" * 1000, 431),
        (HEAD + b"X-A: ", b"a" * 10_000, 431),
        (HEAD, b"a" * 10_000, 431),
        (b"GET /", b"a" * 10_000, 414),
        (b"GET /api/users?x=", b"a" * 10_000, 414),
        (b"G", b"E" * 10_000, 400),
        (b"GET / HTTP/1.", b"1" * 10_000, 400),
        (
            b"POST /api/users HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;x=",
            b"a" * 10_000,
            None,
        ),
        (
            b"POST /api/users HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ",
            b"a" * 10_000,
            None,
        ),
        (
            b"POST /api/users HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            b"X: y\r\n" * 1000,
            None,
        ),
        (b"POST /api/users HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n", b"a" * 10_000, 413),
        (b"", b"\r\n" * 5000, None),
    ],
    ids=[
        "large headers",
        "small headers",
        "one header",
        "a header's name",
        "a path",
        "a query",
        "a method",
        "a version",
        "an extension of a chunk",
        "a trailer",
        "small trailers",
        "a body",
        "empty lines",
    ],
)
def test_what_has_no_end_is_refused_and_takes_no_memory(process, begin, piece, status):
    before = process.memory
    said = sends_for_long(process, begin, piece, megabytes=100)
    if status is not None and said:  # an answer may be lost when the connection breaks under it
        assert answers(said)[0][0] == status
    assert process.memory - before < 20 * MEGABYTE


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (HEAD + b"X-A: " + b"a" * HEADER_BYTES + b"\r\n\r\n", 431),
        (HEAD + b"X-A: b\r\n" * 101 + b"\r\n", 431),
        (HEAD + b"X-A: b\r\n" * 98 + b"\r\n", 401),
        (HEAD + b"X-A: " + b"a" * 30_000 + b"\r\n\r\n", 401),
        (b"GET /api/users?" + b"a" * 8192 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET /api/users?" + b"a" * 8000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 401),
        (b"garbage\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /api/\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\na", 400),
        (HEAD + b"Content-Length: 99999999999999999999999999\r\n\r\n", 400),
        (HEAD + b"Content-Length: -1\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", 400),
        (HEAD + b"Bad Header: x\r\n\r\n", 400),
    ],
)
def test_a_request_that_is_none_or_too_large_is_answered_in_the_dialects_shape(process, sent, status):
    if status == 401:
        sent = sent.replace(b"Host: x", b"Connection: close")
    first, body = answers(process.exchange(sent))[0]
    assert first == status
    assert body["errors"][0]["message"]


def test_the_other_dialect_answers_in_its_own_shape(process):
    said = process.exchange(b"GET /v1/orchestrate/runs HTTP/1.1\r\n" + b"X-A: b\r\n" * 101 + b"\r\n")
    (answer,) = answers(said)
    assert answer == (431, {"detail": answer[1]["detail"]})
    assert answer[1]["detail"].startswith("A request has 100 headers")


def test_a_refusal_comes_after_the_answers_to_what_was_asked_before(process):
    assert statuses(process.exchange(LIVE * 3 + HEAD + b"X-A: b\r\n" * 101 + b"\r\n" + LIVE)) == [
        200,
        200,
        200,
        431,
    ]


def test_requests_sent_ahead_are_answered_in_order_up_to_a_number(process):
    assert statuses(process.exchange(LIVE * 10 + HEAD + b"Connection: close\r\n\r\n")) == [200] * 10 + [401]
    said = statuses(process.exchange(LIVE * 5000))
    assert said[-1] == 429
    assert set(said[:-1]) == {200}


def test_http_1_0_and_wishes_for_another_protocol_are_answered(process):
    assert statuses(process.exchange(b"GET /health/live HTTP/1.0\r\n\r\n")) == [200]
    wish = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\n"
    for protocol in (b"websocket", b"h2c"):
        assert statuses(process.exchange(wish % protocol + LAST)) == [200, 200]


def test_headers_that_come_byte_by_byte_are_read(process):
    with process.connect() as connection:
        for byte in LAST:
            connection.send(bytes([byte]))
        assert statuses(received(connection)) == [200]


def test_a_body_that_waits_for_a_go_ahead_is_refused_without_one(process):
    said = process.exchange(
        b"POST /api/assistants HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\n"
    )
    assert not said.startswith(b"HTTP/1.1 100")
    assert statuses(said) == [401]


def test_trailers_are_not_taken_for_headers(process):
    said = process.exchange(
        b"POST /api/assistants HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\n{}\r\n0\r\nAuthorization: Bearer x\r\n\r\n"
    )
    assert statuses(said) == [401]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", None),
        (b"\r\n\r\n", None),
        (HEAD, 408),
        (LIVE + HEAD, 408),
    ],
    ids=["nothing", "empty lines", "half a head", "half a second head"],
)
def test_a_connection_that_goes_on_with_nothing_is_closed(process, sent, status):
    begun = time.monotonic()
    said = statuses(process.exchange(sent, timeout=LATE))
    assert said[-1:] == ([] if status is None else [status])
    assert time.monotonic() - begun > TIMEOUT - 1


def test_headers_that_never_end_however_lively_are_out_of_time(process):
    with process.connect(LATE) as connection:
        connection.sendall(HEAD)
        is_over = threading.Event()

        def drip():
            while not is_over.wait(0.1):
                with contextlib.suppress(OSError):
                    connection.send(b"a")

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            assert statuses(received(connection)) == [408]
        finally:
            is_over.set()
            dripping.join()


def test_an_answered_request_whose_body_never_comes_keeps_no_connection(process):
    said = process.exchange(
        b"POST /api/assistants HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\na", timeout=LATE
    )
    assert statuses(said) == [401]


def test_a_reader_that_takes_nothing_is_left(process):
    assert process.client.get("/openapi.json").status_code == 200  # made now, so that the next ones are quick
    document = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", process.port))
        connection.settimeout(LATE)

        def is_left():
            with contextlib.suppress(OSError):
                connection.sendall(document)
            return "takes nothing" in process.log

        wait_until(is_left, timeout=2 * LATE, pause=0.05, what="the reader to be left")


def test_a_body_is_not_read_before_its_sender_is_known(process):
    before = process.memory
    connections = []
    for _ in range(50):
        connection = process.connect()
        connections.append(connection)
        with contextlib.suppress(ConnectionError):
            connection.sendall(
                b"POST /api/assistants HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n"
                + b"a" * 500_000
            )
    assert process.memory - before < 20 * MEGABYTE
    for connection in connections:
        assert statuses(received(connection)) in ([401], [])
        connection.close()


def test_keys_that_are_tried_are_paced_by_address(process):
    def ask(path):
        return process.client.get(path, headers={"Authorization": f"Bearer {new_secret()}"})

    with ThreadPoolExecutor(8) as callers:  # faster than the pace, on however busy a machine
        answers = list(callers.map(ask, ["/api/users"] * 400))
    assert {answer.status_code for answer in answers} == {401, 429}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["errors"][0]["type"] == "TooManyRefusals"
    assert refused.headers["Retry-After"]
    assert "detail" in ask("/v1/orchestrate/runs").json()


def test_connections_beyond_the_limit_get_probes_answered_and_are_logged_once(settings_of_module):
    with api_process(settings_of_module, secret="none", MAX_CONNECTIONS="50") as process:
        silent = [process.connect() for _ in range(120)]
        try:
            assert statuses(process.exchange(LIVE)) == [200]
            assert statuses(process.exchange(LIVE.replace(b"live", b"ready"))) == [200]
            ((status, body),) = answers(process.exchange(HEAD + b"\r\n"))
            assert (status, body["errors"][0]["type"]) == (503, "Overloaded")
            wait_until(lambda: "limit of connections" in process.log, what="the log to tell of it")
            assert process.log.count("limit of connections") == 1
        finally:
            for connection in silent:
                connection.close()
        wait_until(lambda: process.client.get("/api/users").status_code == 401)


def test_an_address_has_a_share_of_the_connections(settings_of_module):
    with api_process(settings_of_module, secret="none", MAX_ADDRESS_CONNECTIONS="10") as process:
        process.client.close()
        silent = [process.connect() for _ in range(10)]
        try:
            assert statuses(process.exchange(HEAD + b"\r\n")) == [503]
            with socket.create_connection(
                ("127.0.0.1", process.port), source_address=("127.0.0.2", 0)
            ) as other:
                other.sendall(HEAD + b"Connection: close\r\n\r\n")
                assert statuses(received(other)) == [401]
        finally:
            for connection in silent:
                connection.close()


def test_the_limit_of_open_files_is_never_reached(settings_of_module):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        with api_process(settings_of_module, secret="none") as process:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            silent = []
            try:
                for _ in range(500):
                    silent.append(process.connect())
                    assert len(silent) % 50 or statuses(process.exchange(LAST)) == [200]
            finally:
                for connection in silent:
                    connection.close()
            assert "Too many open files" not in process.log
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (b"X-Request-ID: mine-1\r\n", rb"\r\nx-request-id: mine-1\r\n"),
        (b"", rb"\r\nx-request-id: [0-9a-f]{32}\r\n"),
    ],
)
def test_a_refusal_of_the_connection_has_a_request_id_and_so_has_its_line(process, wanted, expected):
    raw = sends_for_long(process, HEAD + wanted, b"X-A: b\r\n" * 1000, 1)
    assert statuses(raw) == [431]
    found = re.search(expected, raw)
    assert found
    request_id = found[0].split()[1].decode()

    def told():
        return [line for line in process.log.splitlines() if f'"{request_id}"' in line and "refused" in line]

    wait_until(told, timeout=60, what="the line of the refusal")

"""The proxy before PostgreSQL counts messages, however the network cuts them."""

import socket
import threading

import pytest

from bench.wire import Answers, counted
from tests.support.waiting import wait_until

READY = b"Z\x00\x00\x00\x05"
ROW = b"D\x00\x00\x00\x0cZ\x00\x00\x00\x05II!"[:13]  # a row that looks like the end of a transaction inside


@pytest.mark.parametrize("size", [1, 2, 5, 7, 100])
def test_only_ready_outside_of_a_transaction_ends_one(size: int):
    stream = READY + b"T" + ROW + READY + b"I" + ROW + READY + b"E" + READY + b"I"
    answers = Answers()
    assert sum(answers.feed(stream[at : at + size]) for at in range(0, len(stream), size)) == 2


def test_a_client_that_waits_for_each_answer_makes_a_round_trip_each():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            with connection:
                while connection.recv(100):
                    connection.sendall(READY + b"I")

        threading.Thread(target=serve, daemon=True).start()
        url = f"postgresql://user:secret@127.0.0.1:{server.getsockname()[1]}/x"
        with counted(url) as (counted_url, traffic):
            host, port = counted_url.partition("@")[2].partition("/")[0].split(":")
            with socket.create_connection((host, int(port))) as client:
                for _ in range(3):
                    client.sendall(b"question")
                    assert client.recv(100) == READY + b"I"
            wait_until(lambda: traffic.transactions == 3, what="all to be counted")
            assert traffic.round_trips == 3

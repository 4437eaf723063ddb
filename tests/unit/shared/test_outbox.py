"""Outboxes: in order, bounded in number and in bytes."""

import threading

from shared.dispatch import dispatcher
from shared.dispatch.dispatcher import Outbox
from tests.support.waiting import wait_until


def blocked(outbox):
    """Have an outbox send something that takes until the event is set."""
    begun, go_on = threading.Event(), threading.Event()
    outbox.put(lambda: (begun.set(), go_on.wait(60)))
    assert begun.wait(30)
    return go_on


def test_what_waits_is_bounded_in_bytes_and_the_rest_is_dropped():
    sent = []
    outbox = Outbox("test", most=1_000)
    go_on = blocked(outbox)
    for number in range(500):
        outbox.put(lambda number=number: sent.append(number), size=300)
    assert outbox.waiting_bytes == 900
    outbox.put(lambda: sent.append("small"))  # what holds nothing is not in the way
    go_on.set()
    wait_until(lambda: len(sent) == 4)
    assert sent == [0, 1, 2, "small"]
    assert outbox.waiting_bytes == 0
    outbox.put(lambda: sent.append("later"), size=900)
    outbox.close()
    assert sent[-1] == "later"


def test_what_waits_is_bounded_in_number():
    sent = []
    outbox = Outbox("test", backlog=3)
    go_on = blocked(outbox)
    for number in range(10):
        outbox.put(lambda number=number: sent.append(number))
    go_on.set()
    outbox.close()
    assert sent == [0, 1, 2]


def test_a_full_outbox_whose_send_hangs_is_closed_in_time():
    outbox = Outbox("test", backlog=1)
    go_on = blocked(outbox)
    outbox.put(lambda: None)
    closing = threading.Thread(target=outbox.close, kwargs={"timeout": 0.2})
    closing.start()
    closing.join(30)
    assert not closing.is_alive()
    go_on.set()


def test_a_send_that_fails_gives_its_bytes_back():
    outbox = Outbox("test", most=100)

    def fail():
        raise OSError

    for _ in range(5):
        outbox.put(fail, size=100)
        wait_until(lambda: outbox.waiting_bytes == 0)
    outbox.close()


def test_items_of_one_kind_that_wait_are_sent_together_and_in_order(monkeypatch):
    monkeypatch.setattr(dispatcher, "MAX_JOINED", 3)
    sent = []
    outbox = Outbox("test")
    go_on = blocked(outbox)
    for number in range(5):
        outbox.put_joined(sent.append, number)
    outbox.put(lambda: sent.append("between"))
    outbox.put_joined(sent.append, 5)
    outbox.put_joined(lambda items: sent.append(("other", items)), 6)
    go_on.set()
    outbox.close()
    assert sent == [[0, 1, 2], [3, 4], "between", [5], ("other", [6])]


def test_what_is_sent_together_is_bounded_in_bytes(monkeypatch):
    monkeypatch.setattr(dispatcher, "MAX_JOINED_BYTES", 100)
    sent = []
    outbox = Outbox("test")
    go_on = blocked(outbox)
    for size in (60, 40, 1, 200, 5):
        outbox.put_joined(sent.append, size, size=size)
    go_on.set()
    outbox.close()
    assert sent == [[60, 40], [1], [200], [5]]
    assert outbox.waiting_bytes == 0

"""A reader's bounded buffer."""

import asyncio
import uuid
from datetime import UTC, datetime

import pytest

from api.streaming.batch import AWAY, Batch, Slice
from api.streaming.mailbox import Mailbox
from shared.events.log import StoredEvent
from shared.models import Origin


def batch(*seqs):
    return Batch(
        StoredEvent(uuid.uuid4(), seq, uuid.uuid4(), Origin.SYSTEM, "x", {}, 0.0, datetime.now(UTC))
        for seq in seqs
    )


def read(mailbox, *seqs, total=0, is_closed=False):
    """Read the log for a mailbox that has a gap."""
    assert mailbox.take_gap()
    mailbox.fill(Slice(batch(*seqs), total=total, is_closed=is_closed))


@pytest.fixture
def mailbox():
    """A mailbox whose reader has read the log."""
    mailbox = Mailbox(batches=3, size=100)
    read(mailbox)
    return mailbox


def test_batches_come_out_as_they_went_in(mailbox):
    first, second = batch(0), batch(1, 2)
    mailbox.put(first, size=1)
    mailbox.put(second, size=1)
    assert [mailbox.take(), mailbox.take()] == [first, second]
    assert mailbox.take() is None
    assert not mailbox.take_gap()


def test_before_the_log_was_read_nothing_is_kept():
    mailbox = Mailbox(batches=3)
    mailbox.put(batch(0), size=1)
    assert len(mailbox) == 0
    assert mailbox.take() is None
    assert mailbox.take_gap()


@pytest.mark.parametrize("size", [1, 40])
def test_what_has_no_room_leaves_a_gap_and_nothing_else(mailbox, size):
    for seq in range(100):
        mailbox.put(batch(seq), size=size)
        assert len(mailbox) <= 3
    assert mailbox.take() is None
    read(mailbox, *range(100))
    assert len(mailbox.take()) == 100
    again = batch(100)
    mailbox.put(again, size=size)
    assert mailbox.take() is again


def test_one_batch_larger_than_all_room_is_a_gap(mailbox):
    mailbox.put(batch(0), size=101)
    assert mailbox.take_gap()


def test_room_comes_back(mailbox):
    for seq in range(50):
        mailbox.put(batch(seq), size=90)
        assert mailbox.take()[0].seq == seq
    assert not mailbox.take_gap()


async def test_a_closed_mailbox_lets_its_reader_go(mailbox):
    mailbox.put(batch(0), size=1)
    mailbox.close()
    assert mailbox.is_closed
    assert mailbox.take() is None
    await mailbox.wait()  # returns at once


def test_what_was_published_while_the_log_was_read_comes_after_it():
    mailbox = Mailbox(batches=9)
    assert mailbox.take_gap()
    for seq in range(1, 5):
        mailbox.put(batch(seq), size=1)
    assert mailbox.take() is None
    mailbox.fill(Slice(batch(0, 1, 2), total=3, is_closed=False))
    assert [event.seq for _ in range(3) for event in mailbox.take()] == [0, 1, 2, 3, 4]


def test_a_batch_that_begins_earlier_is_cut(mailbox):
    mailbox.put(batch(0, 1), size=1)
    mailbox.take()
    mailbox.put(batch(0, 1, 2), size=1)
    assert [event.seq for event in mailbox.take()] == [2]


def test_a_hole_between_two_batches_is_a_gap(mailbox):
    mailbox.put(batch(1), size=1)
    assert mailbox.take() is None
    assert mailbox.take_gap()


@pytest.mark.parametrize(("stored", "is_gap"), [(0, False), (2, False), (3, True)])
def test_only_a_reader_who_lacks_something_reads(mailbox, stored, is_gap):
    mailbox.put(batch(0), size=1)
    mailbox.take()
    mailbox.put(batch(1), size=1)
    mailbox.learn(stored, has_ended=False)
    assert mailbox.take_gap() is is_gap


def test_what_is_learned_during_a_read_counts_after_it():
    mailbox = Mailbox(batches=9)
    assert mailbox.take_gap()
    mailbox.learn(2, has_ended=False)
    assert not mailbox.take_gap()
    mailbox.fill(Slice(batch(0), total=1, is_closed=False))
    mailbox.take()
    assert mailbox.take_gap()


def test_after_a_read_in_vain_whatever_is_learned_leads_to_another(mailbox):
    mailbox.mark_gap()
    assert mailbox.take_gap()
    mailbox.fill(AWAY)
    assert not mailbox.take_gap()
    mailbox.learn(0, has_ended=False)
    assert mailbox.take_gap()


def test_a_reader_beyond_the_end_is_let_go_when_the_run_has_ended():
    mailbox = Mailbox(start=1000, batches=9)
    read(mailbox, total=3)
    mailbox.learn(5, has_ended=False)
    assert not mailbox.take_gap()
    mailbox.learn(6, has_ended=True)
    read(mailbox, total=6, is_closed=True)
    assert mailbox.is_closed


async def test_a_heartbeat_wakes_a_reader_who_waits(mailbox):
    waiting = asyncio.create_task(mailbox.wait())
    await asyncio.sleep(0)
    mailbox.beat()
    await waiting
    assert mailbox.take() == []
    assert mailbox.take() is None


def test_a_reading_voids_what_was_learned_before_it(mailbox):
    """A reader whose run is said to have ended, and has not, reads once for each time that it is said."""
    for _ in range(3):
        mailbox.learn(0, has_ended=True)
        read(mailbox)
        assert not mailbox.take_gap()

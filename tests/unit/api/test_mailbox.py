"""A reader's bounded buffer."""

import uuid
from datetime import UTC, datetime

import pytest

from api.mailbox import Mailbox
from shared.events.log import StoredEvent
from shared.models import Origin


def batch(*seqs):
    return [
        StoredEvent(uuid.uuid4(), seq, uuid.uuid4(), Origin.SYSTEM, "x", {}, 0.0, datetime.now(UTC))
        for seq in seqs
    ]


@pytest.fixture
def mailbox():
    """A mailbox whose reader has read the log."""
    mailbox = Mailbox(batches=3, size=100)
    assert mailbox.take_gap()
    return mailbox


async def test_batches_come_out_as_they_went_in(mailbox):
    first, second = batch(0), batch(1, 2)
    mailbox.put(first, size=1)
    mailbox.put(second, size=1)
    assert [await mailbox.get(1), await mailbox.get(1)] == [first, second]
    assert await mailbox.get(0.001) is None
    assert not mailbox.take_gap()


async def test_before_the_log_was_read_nothing_is_kept():
    mailbox = Mailbox(batches=3)
    mailbox.put(batch(0), size=1)
    assert len(mailbox) == 0
    assert await mailbox.get(60) is None
    assert mailbox.take_gap()


@pytest.mark.parametrize("size", [1, 40])
async def test_what_has_no_room_leaves_a_gap_and_nothing_else(mailbox, size):
    for seq in range(100):
        mailbox.put(batch(seq), size=size)
        assert len(mailbox) <= 3
    assert await mailbox.get(60) is None
    assert mailbox.take_gap()
    again = batch(100)
    mailbox.put(again, size=size)
    assert await mailbox.get(60) is again


async def test_one_batch_larger_than_all_room_is_a_gap(mailbox):
    mailbox.put(batch(0), size=101)
    assert mailbox.take_gap()


async def test_room_comes_back(mailbox):
    for seq in range(50):
        mailbox.put(batch(seq), size=90)
        assert (await mailbox.get(60))[0].seq == seq
    assert not mailbox.take_gap()


async def test_a_closed_mailbox_lets_its_reader_go(mailbox):
    mailbox.put(batch(0), size=1)
    mailbox.close()
    assert mailbox.is_closed
    assert await mailbox.get(60) is None
    assert await mailbox.get(60) is None

"""What is held for readers who take their time."""

import asyncio
import gc
import uuid
import weakref

import pytest

from api.streaming.batch import Batch
from api.streaming.responses import SMALL, PieceStream
from api.streaming.sse import EventStream
from api.traffic.admission import Gate
from api.traffic.budget import Budget

ANN, BOB = uuid.uuid4(), uuid.uuid4()
LONG = 60


class WatchedBatch(Batch):
    """A batch whose end can be seen."""


class Reader:
    """Takes what a server sends when it is told to: like a server, it waits before it writes."""

    def __init__(self):
        self.sent = []
        self.is_full = False
        self.drained = asyncio.Event()

    async def send(self, message):
        if self.is_full:
            await self.drained.wait()
            self.is_full = False
            self.drained.clear()
        self.sent.append(len(message.get("body", b"")))
        self.is_full = self.sent[-1] > SMALL


async def settled():
    for _ in range(20):
        await asyncio.sleep(0)


async def test_the_next_piece_is_made_when_the_last_one_is_taken():
    made = []

    async def pieces():
        for number in range(3):
            made.append(number)
            yield b"x" * (SMALL + 1)

    reader = Reader()
    answering = asyncio.create_task(PieceStream(pieces()).stream_response(reader.send))
    for number in range(3):
        await settled()
        assert made == list(range(number + 1))
        reader.drained.set()
    await settled()
    await answering
    assert sum(reader.sent) == 3 * (SMALL + 1)


async def test_small_pieces_do_not_wait_for_each_other():
    async def pieces():
        for _ in range(3):
            yield b"x" * SMALL

    reader = Reader()
    await PieceStream(pieces()).stream_response(reader.send)
    assert reader.sent.count(SMALL) == 3


async def test_nothing_of_a_batch_is_held_while_the_next_one_is_waited_for():
    gone = asyncio.Event()
    seen = []

    class Event:
        seq = 1

    async def batches():
        batch = WatchedBatch([Event()])
        seen.append(weakref.ref(batch))
        yield batch
        del batch
        await gone.wait()

    reader = Reader()
    stream = EventStream(batches(), encode=lambda _: b"x" * (SMALL + 1))
    answering = asyncio.create_task(stream.stream_response(reader.send))
    await settled()
    reader.drained.set()
    await settled()
    gc.collect()
    assert seen[0]() is None
    gone.set()
    await answering


@pytest.fixture
async def budget():
    return Budget(total=100, share=50)


async def test_what_is_larger_than_it_looked_keeps_the_others_of_its_tenant_waiting(budget):
    lane = Gate(1, timeout=LONG)
    reads = []

    def read(name):
        reads.append(name)
        return name

    with budget.holding(ANN) as first, budget.holding(ANN) as second, budget.holding(BOB) as other:
        assert await first.read(10, lane, read, "first") == "first"
        first.grow(60)  # more than the share
        waiting = asyncio.create_task(second.read(10, lane, read, "second"))
        assert await other.read(10, lane, read, "other") == "other"
        await settled()
        assert not waiting.done()
        first.give_back()
        assert await waiting == "second"
    assert reads == ["first", "other", "second"]
    assert budget.used == 0


async def test_those_who_took_room_before_it_was_gone_look_again_when_their_turn_comes(budget):
    """All have room at first; what the first one reads takes up all that there is."""
    lane = Gate(1, timeout=LONG)
    reads = []

    async def reader(name):
        with budget.holding(ANN) as hold:
            await hold.read(5, lane, reads.append, name)
            hold.grow(60)
            most.append(budget.used)
            await asyncio.sleep(0.01)

    most = []
    await asyncio.gather(*(reader(number) for number in range(8)))
    assert sorted(reads) == list(range(8))
    assert max(most) <= 60 + 7 * 5 + 60  # one more may have been under way
    assert budget.used == 0

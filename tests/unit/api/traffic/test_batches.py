"""Batches: what arrives meanwhile is done together, next."""

import asyncio
import threading

import pytest

from api.traffic import batches
from api.traffic.batches import Batches, Done


class Work:
    """Doubles numbers; each batch waits until it is let go."""

    def __init__(self):
        self.seen = []
        self.followed = []
        self.begun = threading.Event()
        self.go_on = threading.Semaphore(0)

    def __call__(self, items):
        self.seen.append(list(items))
        self.begun.set()
        assert self.go_on.acquire(timeout=60)
        if "broken" in items:
            raise ValueError("broken")
        return Done([2 * item for item in items], lambda: self.followed.append(list(items)))


@pytest.fixture
def work():
    return Work()


async def offered(work, made, items, *, size=1):
    """Offer items in order behind those that are there."""
    tasks = [asyncio.create_task(made.do(item, size=size)) for item in items]
    await asyncio.sleep(0)
    return tasks


async def begun(work, made, item, *, size=1):
    """Offer an item, and return its task once a batch of it alone is at work."""
    (task,) = await offered(work, made, [item], size=size)
    assert await asyncio.to_thread(work.begun.wait, 10)
    return task


async def test_what_arrives_during_a_batch_is_done_together_in_the_next(work):
    made = Batches(work)
    first = await begun(work, made, 1)
    others = await offered(work, made, [2, 3, 4])
    work.go_on.release(2)
    assert await asyncio.gather(first, *others) == [2, 4, 6, 8]
    assert work.seen == [[1], [2, 3, 4]]
    assert work.followed == [[1], [2, 3, 4]]


async def test_an_error_of_a_batch_reaches_its_callers_and_no_others(work):
    made = Batches(work)
    first = await begun(work, made, 1)
    broken = await offered(work, made, ["broken", 2])
    work.go_on.release(3)
    assert await first == 2
    errors = await asyncio.gather(*broken, return_exceptions=True)
    assert [type(error) for error in errors] == [ValueError, ValueError]
    assert await made.do(5, size=1) == 10


async def test_a_batch_is_bounded_in_number_and_in_bytes(work, monkeypatch):
    monkeypatch.setattr(batches, "MAX_BATCH", 2)
    monkeypatch.setattr(batches, "MAX_BATCH_BYTES", 100)
    made = Batches(work)
    tasks = [await begun(work, made, 0)]
    tasks += await offered(work, made, [1, 2, 3], size=10)
    tasks += await offered(work, made, [4, 5], size=95)
    tasks += await offered(work, made, [6], size=1000)
    work.go_on.release(9)
    assert await asyncio.gather(*tasks) == [0, 2, 4, 6, 8, 10, 12]
    assert work.seen == [[0], [1, 2], [3], [4], [5], [6]]


async def test_a_caller_that_leaves_disturbs_nobody(work):
    made = Batches(work)
    first = await begun(work, made, 1)
    gone, stays = await offered(work, made, [2, 3])
    gone.cancel()
    work.go_on.release(2)
    assert await asyncio.gather(first, stays) == [2, 6]


async def test_what_follows_a_batch_may_fail_and_those_who_wait_are_served_all_the_same():
    begun, go_on = threading.Event(), threading.Event()

    def work(items):
        begun.set()
        assert go_on.wait(60)
        return Done(items, lambda: 1 // 0)

    made = Batches(work)
    (first,) = await offered(work, made, [1])
    assert await asyncio.to_thread(begun.wait, 60)
    others = await offered(work, made, [2, 3])
    go_on.set()
    async with asyncio.timeout(60):
        assert await asyncio.gather(first, *others) == [1, 2, 3]

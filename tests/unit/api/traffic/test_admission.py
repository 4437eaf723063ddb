"""Who goes next at a gate."""

import asyncio
import threading
from contextlib import AsyncExitStack

import pytest

from api.traffic.admission import MAX_QUEUE, Gate
from shared.errors import OverloadedError

LONG = 60


class Line:
    """Callers of a gate, who stay inside until they are told to leave."""

    def __init__(self, gate):
        self.gate = gate
        self.inside = []
        self.tasks = []
        self.exits = {}

    async def come(self, name, group, weight=1):
        self.exits[name] = asyncio.Event()

        async def visit():
            async with self.gate.admit(group, weight):
                self.inside.append(name)
                await self.exits[name].wait()

        self.tasks.append(asyncio.create_task(visit()))
        await settled()

    async def go(self, name):
        self.exits[name].set()
        await settled()
        self.inside.remove(name)


async def settled():
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
async def line():
    lines = []

    def make(capacity, *, share=None, timeout=LONG):
        lines.append(Line(Gate(capacity, share=share, timeout=timeout)))
        return lines[-1]

    yield make
    for task in [task for line in lines for task in line.tasks]:
        task.cancel()
    await settled()


async def test_the_first_to_come_is_the_first_to_go(line):
    line = line(1)
    for name in "abc":
        await line.come(name, "x")
    assert line.inside == ["a"]
    await line.go("a")
    assert line.inside == ["b"]
    await line.go("b")
    assert line.inside == ["c"]


async def test_groups_take_turns_however_many_of_one_wait(line):
    line = line(1)
    for name in ("a1", "a2", "a3", "a4"):
        await line.come(name, "a")
    await line.come("b1", "b")
    await line.go("a1")
    await line.go("a2")
    assert line.inside == ["b1"]


async def test_a_group_has_no_more_than_its_share_even_of_what_is_free(line):
    line = line(4, share=2)
    for name in ("a1", "a2", "a3"):
        await line.come(name, "a")
    await line.come("b1", "b")
    assert line.inside == ["a1", "a2", "b1"]
    await line.go("b1")
    assert line.inside == ["a1", "a2"]
    await line.go("a1")
    assert line.inside == ["a2", "a3"]


async def test_what_is_large_is_not_overtaken_for_ever(line):
    line = line(10)
    await line.come("a", "x", weight=6)
    await line.come("large", "y", weight=8)
    await line.come("small", "z", weight=1)
    assert line.inside == ["a"]
    await line.go("a")
    assert line.inside == ["large", "small"]


async def test_what_is_larger_than_the_share_counts_as_the_share(line):
    line = line(10, share=5)
    await line.come("a", "x", weight=1000)
    await line.come("b", "y", weight=5)
    assert line.inside == ["a", "b"]


async def test_whoever_waits_too_long_is_refused_and_takes_nothing(line):
    line = line(1, timeout=0.01)
    await line.come("a", "x")
    with pytest.raises(OverloadedError):
        async with line.gate.admit("x"):
            pytest.fail("there was no room")
    assert line.gate.waiting == 0
    await line.go("a")
    async with line.gate.admit("x") as has_waited:
        assert not has_waited


async def test_whoever_leaves_the_queue_holds_up_nobody(line):
    line = line(1)
    for name in "abc":
        await line.come(name, "x")
    line.tasks[1].cancel()
    await settled()
    await line.go("a")
    assert line.inside == ["c"]


async def test_a_turn_that_comes_to_one_who_leaves_is_passed_on(line):
    line = line(1)
    for name in "abc":
        await line.come(name, "x")
    line.exits["a"].set()
    await asyncio.sleep(0)  # the turn is given, and not yet taken
    line.tasks[1].cancel()
    await settled()
    assert "c" in line.inside


async def test_the_queue_of_a_group_has_an_end():
    gate = Gate(1, timeout=LONG)
    async with gate.admit("x"):
        waiting = [asyncio.create_task(gate.run("x", list)) for _ in range(MAX_QUEUE)]
        await settled()
        with pytest.raises(OverloadedError):
            async with gate.admit("x"):
                pytest.fail("there was no room")
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    assert gate.waiting == 0


async def test_work_whose_caller_left_keeps_its_place_until_it_is_done():
    gate = Gate(1, timeout=LONG)
    may_end = threading.Event()
    caller = asyncio.create_task(gate.run("x", may_end.wait, 10))
    await settled()
    caller.cancel()
    await settled()
    following = asyncio.create_task(gate.run("x", str))
    await settled()
    assert (caller.cancelled(), gate.waiting) == (True, 1)
    may_end.set()
    assert await asyncio.wait_for(following, 60) == ""


async def test_nothing_is_left_over_when_everybody_has_gone():
    gate = Gate(3, share=2, timeout=LONG)
    async with AsyncExitStack() as stack:
        for group in "abc":
            await stack.enter_async_context(gate.admit(group))
    assert (gate._free, gate._used, gate._waiting) == (3, {}, {})


@pytest.mark.parametrize("gives_up", [1, 3], ids=["the next", "the one after"])
async def test_a_turn_that_comes_while_its_waiter_gives_up_is_given_back(line, gives_up):
    """Whoever is cancelled hears of it a moment later; the turn may be given in between."""
    gate = line(1)
    await gate.come("inside", "a")
    for number in range(4):
        await gate.come(f"waiting {number}", "a")
    leaving = gate.tasks[1 : 1 + gives_up]
    gate.exits["inside"].set()  # it leaves in the same turn of the loop, before they hear of theirs
    for task in leaving:
        task.cancel()
    await settled()
    assert gate.inside == ["inside", f"waiting {gives_up}"]
    assert all(task.cancelled() for task in leaving)
    assert gate.gate.waiting == 3 - gives_up


async def test_nothing_is_lost_when_many_run_out_of_patience_at_once(line):
    gate = line(2, timeout=0.05)
    await gate.come("inside", "a", 2)
    for number in range(200):
        await gate.come(number, number % 3)
    outcomes = await asyncio.gather(*gate.tasks[1:], return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {OverloadedError}
    await gate.go("inside")
    assert (gate.gate.waiting, gate.gate._free, gate.gate._used, gate.gate._queued) == (0, 2, {}, {})

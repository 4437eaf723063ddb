"""A process that loses what it lives by says so, and is replaced."""

import asyncio
import threading

import pytest

from shared.dispatch.dispatcher import Outbox
from shared.processes.vitals import Vitals


@pytest.fixture
def vitals():
    return Vitals()


@pytest.mark.parametrize("cause", [RuntimeError("broken"), SystemExit(), KeyboardInterrupt()])
def test_a_thread_that_dies_of_anything_is_told(vitals, cause):
    told = threading.Event()
    vitals.on_death(told.set)

    def die():
        raise cause

    vitals.start("leases", die).join(30)
    assert told.is_set()
    assert vitals.dead == ("leases",)


def test_a_death_before_somebody_listens_is_told_then(vitals):
    def die():
        raise RuntimeError

    vitals.start("leases", die).join(30)
    told = threading.Event()
    vitals.on_death(told.set)
    assert told.is_set()


def test_a_thread_may_end_by_itself(vitals):
    vitals.start("leases", lambda: None).join(30)
    assert vitals.dead == ()


@pytest.mark.parametrize("end", ["raise", "return", "cancel"])
async def test_a_task_that_ends_is_told(vitals, end):
    async def work():
        if end == "raise":
            raise RuntimeError
        if end == "cancel":
            await asyncio.Event().wait()

    task = vitals.create_task("subscriber", work())
    if end == "cancel":
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.wait({task})
    await asyncio.sleep(0)
    assert vitals.dead == ("subscriber",)


async def test_at_the_end_of_the_process_nothing_is_missed(vitals):
    task = vitals.create_task("subscriber", asyncio.Event().wait())
    vitals.close()
    task.cancel()
    await asyncio.wait({task})
    await asyncio.sleep(0)
    assert vitals.dead == ()


def test_an_outbox_whose_thread_dies_sends_what_waits():
    outbox, sent, hold = Outbox("test"), threading.Event(), threading.Event()

    def die():
        hold.wait(5)
        raise SystemExit

    outbox.put(die)
    outbox.put(sent.set)  # waits behind it
    hold.set()
    assert sent.wait(30)
    outbox.close()

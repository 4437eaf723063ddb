"""New runs that a process knows for a moment."""

import asyncio
import uuid

from api.streaming import newcomers
from api.streaming.newcomers import Newcomers
from shared.models import Run

OURS, THEIRS = uuid.uuid4(), uuid.uuid4()


def new_run():
    return Run(id=uuid.uuid4(), organization_id=OURS)


async def test_a_run_is_known_to_its_organization_alone():
    known, run = Newcomers(), new_run()
    assert known.add(run)
    assert known.has(run.id, organization_id=OURS)
    assert not known.has(run.id, organization_id=THEIRS)
    assert not known.has(uuid.uuid4(), organization_id=OURS)


async def test_a_run_that_is_deleted_is_forgotten():
    known, run = Newcomers(), new_run()
    known.add(run)
    known.forget(run.id)
    assert not known.has(run.id, organization_id=OURS)
    known.forget(run.id)  # that it is no longer known is no error


async def test_only_some_are_known_and_only_for_a_moment(monkeypatch):
    monkeypatch.setattr(newcomers, "MOST", 2)
    monkeypatch.setattr(newcomers, "KNOWN_TIME", 0.0)
    known, runs = Newcomers(), [new_run() for _ in range(3)]
    assert [known.add(run) for run in runs] == [True, True, False]
    await asyncio.sleep(0.001)  # timers come in the order of their instants
    assert not any(known.has(run.id, organization_id=OURS) for run in runs)
    assert known.add(runs[2])

"""Look-ups of runs that callers share."""

import asyncio
import uuid

import pytest

from api.streaming import run_finder
from api.streaming.run_finder import RunFinder
from shared.errors import RunNotFoundError
from shared.lifecycle import RunKind

OURS, THEIRS = uuid.uuid4(), uuid.uuid4()
RUN = uuid.uuid4()


class Database:
    """Answers a query when it is told to."""

    def __init__(self):
        self.queries = 0
        self.may_begin, self.has_begun = asyncio.Event(), asyncio.Event()
        self.may_end = asyncio.Event()

    async def read(self, query):
        await self.may_begin.wait()
        self.queries += 1
        try:
            return query(None)
        finally:
            self.has_begun.set()
            await self.may_end.wait()


@pytest.fixture
def runs(monkeypatch):
    """The organization of each run, in a database that is empty at first."""
    runs = {}

    def log_state(_session, run_id, *, organization_id, kind):
        if runs.get(run_id) != organization_id:
            raise RunNotFoundError(run_id)
        return kind

    monkeypatch.setattr(run_finder, "log_state", log_state)
    return runs


async def test_callers_who_come_before_a_query_begins_share_it(runs):
    runs[RUN] = OURS
    finder, database = RunFinder(), Database()
    database.may_end.set()
    callers = [asyncio.create_task(find(finder, database)) for _ in range(50)]
    await asyncio.sleep(0)
    callers[0].cancel()  # who has left takes nothing from the others
    database.may_begin.set()
    assert await asyncio.gather(*callers[1:]) == [RunKind.ASSISTANT] * 49
    assert database.queries == 1
    assert await find(finder, database) is RunKind.ASSISTANT
    assert database.queries == 2


async def test_a_caller_gets_nothing_older_than_its_call(runs):
    finder, database = RunFinder(), Database()
    database.may_begin.set()
    early = asyncio.create_task(find(finder, database))
    await database.has_begun.wait()
    database.may_end.set()
    runs[RUN] = OURS
    assert await find(finder, database) is RunKind.ASSISTANT
    with pytest.raises(RunNotFoundError):
        await early


async def test_organizations_share_nothing(runs):
    runs[RUN] = OURS
    finder, database = RunFinder(), Database()
    database.may_begin.set()
    database.may_end.set()
    ours, theirs = await asyncio.gather(
        find(finder, database), find(finder, database, THEIRS), return_exceptions=True
    )
    assert ours is RunKind.ASSISTANT
    assert isinstance(theirs, RunNotFoundError)


async def find(finder, database, organization_id=OURS):
    return await finder.find(RUN, organization_id=organization_id, kind=RunKind.ASSISTANT, read=database.read)

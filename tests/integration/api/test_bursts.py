"""More requests at one moment than there are connections to PostgreSQL: they wait, and none is refused."""

import asyncio
import time

import pytest

from shared.lifecycle import RunStatus
from tests.integration.api.crowd import Crowd
from tests.integration.api.serving import api_process
from tests.support.locks import waiting_for_locks
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.quiet, pytest.mark.usefixtures("committed_sessions")]

PATIENCE = 60
"""Seconds that the API lets requests wait here: the machine's other work is not what is asked about."""

LOCK_TIMEOUT = 20  # seconds

FEW, MANY = 600, 2000  # requests of 256 callers


@pytest.fixture(scope="module")
def settings_of_module(services, template_database):
    with services.cloned_database(template_database) as url:
        yield services.settings(database_url=url, redis_url=services.empty_redis())


@pytest.fixture
def committed_settings(settings_of_module):
    return settings_of_module


@pytest.fixture(scope="module")
def process(settings_of_module):
    """One API for all: each test waits for the answers that it has asked for."""
    with api_process(
        settings_of_module,
        secret="none",
        ADMISSION_TIMEOUT=str(PATIENCE),
        LOCK_TIMEOUT=str(LOCK_TIMEOUT),
    ) as process:
        yield process


@pytest.fixture
def crowd(process, secret):
    return Crowd(process.port, secret)


@pytest.fixture
def create(crowd, make_assistant):
    return crowd.request("POST", f"/api/assistants/{make_assistant().id}/runs", b'{"args": ["hello"]}')


async def test_five_hundred_creates_in_one_moment_are_all_accepted(crowd, create):
    begun = time.monotonic()
    assert await crowd.send([create] * 500, callers=500) == {201: 500}
    assert time.monotonic() - begun < PATIENCE  # 2 s on an idle machine with two cores


@pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=pytest.mark.full_length)])
async def test_creates_of_256_callers_are_all_accepted(crowd, create, count):
    assert await crowd.send([create] * count, callers=256) == {201: count}


async def test_lists_in_one_moment_are_all_answered(crowd, make_run):
    path = f"/api/assistants/{make_run().assistant_id}/runs"
    assert await crowd.send([crowd.request("GET", path)] * 200, callers=200) == {200: 200}


async def test_probes_and_cancels_are_answered_during_a_flood_of_creates(crowd, create, make_run):
    runs = [make_run(status=RunStatus.QUEUED) for _ in range(5)]
    flood = asyncio.create_task(crowd.send([create] * 2000, callers=256))
    for run in runs:
        cancel = crowd.request("POST", f"/api/assistant-runs/{run.id}/cancel")
        assert await crowd.send([cancel], callers=1) == {200: 1}
        assert await crowd.send([crowd.request("GET", "/health/ready")], callers=1) == {200: 1}
    assert await flood == {201: 2000}


async def test_sixty_writers_to_one_run_hold_up_nobody_but_themselves(
    process, crowd, held_run, make_run, factories
):
    report = crowd.request(
        "POST", f"/api/structure-runs/{held_run.id}/events", b'{"type": "x", "timestamp": 1, "payload": {}}'
    )
    writers = asyncio.create_task(crowd.send([report] * 60, callers=60))
    await asyncio.to_thread(wait_until, lambda: waiting_for_locks(factories._sessions) > 1)
    queued = make_run(status=RunStatus.QUEUED)
    other = Crowd(process.port, factories.principal_and_secret()[1])
    begun = time.monotonic()
    answers = [
        await other.send([other.request("GET", "/api/users")] * 40, callers=10),
        await crowd.send([crowd.request("POST", f"/api/assistant-runs/{queued.id}/cancel")], callers=1),
        await crowd.send([crowd.request("GET", "/health/ready")] * 20, callers=20),
    ]
    assert answers == [{200: 40}, {200: 1}, {200: 20}]
    assert time.monotonic() - begun < LOCK_TIMEOUT, "none of them has waited until a writer gave up"
    assert not writers.done()
    writers.cancel()
    await asyncio.wait({writers})

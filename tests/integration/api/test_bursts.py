"""More requests at one moment than there are connections to PostgreSQL: they wait, and none is refused."""

import asyncio
import time

import pytest

from shared.runs.lifecycle import RunStatus
from tests.integration.api.crowd import Crowd
from tests.integration.api.serving import api_process

PATIENCE = 60
"""Seconds that the API lets requests wait here: the machine's other work is not what is asked about."""


@pytest.fixture
def process(committed_settings, secret):
    with api_process(committed_settings, secret=secret, ADMISSION_TIMEOUT=str(PATIENCE)) as process:
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


async def test_two_thousand_creates_of_256_callers_are_all_accepted(crowd, create):
    assert await crowd.send([create] * 2000, callers=256) == {201: 2000}


async def test_lists_in_one_moment_are_all_answered(crowd, make_run):
    path = f"/api/assistants/{make_run().assistant_id}/runs"
    assert await crowd.send([crowd.request("GET", path)] * 200, callers=200) == {200: 200}


async def test_probes_and_cancels_do_not_wait_behind_creates(crowd, create, make_run):
    runs = [make_run(status=RunStatus.QUEUED) for _ in range(5)]
    flood = asyncio.create_task(crowd.send([create] * 2000, callers=256))
    for run in runs:
        begun = time.monotonic()
        cancel = crowd.request("POST", f"/api/assistant-runs/{run.id}/cancel")
        assert await crowd.send([cancel], callers=1) == {200: 1}
        assert await crowd.send([crowd.request("GET", "/health/ready")], callers=1) == {200: 1}
        assert time.monotonic() - begun < 5  # one that stands behind 255 others waits for longer than that
        assert not flood.done()
    assert await flood == {201: 2000}

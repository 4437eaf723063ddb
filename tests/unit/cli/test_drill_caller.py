"""The drill's client: it outlasts faults, and no refusal that would last for ever."""

import asyncio

import httpx2
import pytest

from cli.drill import caller as drill_caller
from cli.drill.caller import MOST_REFUSALS, Caller, DrillRefusedError
from cli.drill.record import Answers

PATIENCE = 20  # seconds


@pytest.fixture
def create(monkeypatch):
    """Create something of an API that gives these answers, the last again and again."""
    monkeypatch.setattr(drill_caller, "RETRY_INTERVAL", (0, 0))

    def create(*given):
        answers = list(given)

        def answer(_request):
            found = answers.pop(0) if len(answers) > 1 else answers[0]
            if isinstance(found, Exception):
                raise found
            return httpx2.Response(found, json={"id": "x"})

        async def ask():
            caller = Caller("http://127.0.0.1:1", "ry_key", Answers())
            await caller.http.aclose()
            caller.http = httpx2.AsyncClient(
                base_url="http://127.0.0.1:1", transport=httpx2.MockTransport(answer)
            )
            async with caller.http, asyncio.timeout(PATIENCE):
                return await caller.create("/assistants", json={})

        return asyncio.run(ask())

    return create


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409])
def test_what_is_refused_again_and_again_ends_the_drill(create, status):
    with pytest.raises(DrillRefusedError, match=f"POST /assistants with {status}"):
        create(status)


@pytest.mark.parametrize("fault", [503, 500, 429, 408, httpx2.ConnectError("gone")])
def test_a_fault_is_outlasted(create, fault):
    assert create(*[fault] * (3 * MOST_REFUSALS), 201) == {"id": "x"}


def test_refusals_that_end_are_outlasted(create):
    few = [403] * (MOST_REFUSALS - 1)
    assert create(*few, 503, *few, 201) == {"id": "x"}

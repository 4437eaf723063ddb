"""What a stream of the watsonx Orchestrate dialect says while nothing happens."""

import json
import uuid
from datetime import UTC, datetime

import pytest

from api.streaming.batch import Batch
from api.watsonx.lines import EventArray, EventLines
from shared.events.log import StoredEvent
from shared.models import Origin, Run

EVERY_TIME = 0.0  # seconds: each batch that says nothing is told of
NEVER = 3600.0


@pytest.fixture
def run():
    return Run(id=uuid.uuid4(), thread_id=uuid.uuid4(), assistant_id=uuid.uuid4())


@pytest.fixture
def chunks(run):
    """What an answer of some kind sends of batches, each a list of words, or of kinds without words."""

    async def chunks(answer, *batches, heartbeat=EVERY_TIME):
        async def come():
            for batch in batches:
                yield Batch(stored(run, *said) for said in batch)

        response = answer(come(), run, heartbeat=heartbeat)
        return [chunk async for chunk in response.body_iterator]

    return chunks


THEN = datetime(2026, 11, 28, tzinfo=UTC)  # an id tells its milliseconds


def stored(run, kind, token=""):
    payload = {"token": token, "status": "CANCELLED"}
    origin = Origin.SYSTEM if kind.startswith("AssistantRun") else Origin.ASSISTANT
    return StoredEvent(run.id, 3, uuid.uuid4(), origin, kind, payload, THEN.timestamp(), THEN)


WORD = ("TextChunkEvent", "word")
WORDLESS = ("FinishChunkEvent",)
END = ("AssistantRunCompleted",)


async def test_silence_is_space_before_the_next_line(chunks, run):
    first, *spaces, word, end = await chunks(EventLines, [WORD], [], [WORDLESS], [], [WORD], [END])
    assert spaces == [b" ", b" ", b" "]
    lines = b"".join([first, *spaces, word, end]).splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["event"] for event in events] == ["message.delta", "message.delta", "run.cancelled", "done"]
    assert all(event["data"]["thread_id"] == str(run.thread_id) for event in events)


async def test_events_without_words_are_silence_for_as_long_as_a_heartbeat(chunks):
    assert await chunks(EventLines, [WORDLESS], [], [WORDLESS], heartbeat=NEVER) == []


async def test_a_stream_that_is_over_early_does_not_end_within_a_line(chunks, run):
    """A client that parses what is left over would fail."""
    *spaces, last = await chunks(EventLines, [], [])
    assert spaces == [b" ", b" "]
    event = json.loads(last)
    assert last.endswith(b"\n")
    assert event["event"] == "run.step.intermediate"
    assert event["data"]["thread_id"] == str(run.thread_id)
    assert (await chunks(EventLines, [], [WORD]))[-1].count(b"\n") == 1


async def test_silence_is_space_in_an_array(chunks):
    batches = [[], [WORD], [], [WORD, WORD], [], [END]]
    parts = await chunks(EventArray, *batches)
    assert parts.count(b" ") == 3
    assert len(json.loads(b"".join(parts))) == 5
    assert json.loads(b"".join(await chunks(EventArray, [], []))) == []
    spoken = await chunks(EventArray, *batches, heartbeat=NEVER)
    assert json.loads(b"".join(spoken)) == json.loads(b"".join(parts))

"""How adjacent text chunks become one."""

from shared.events.log import NewEvent
from shared.models import Origin
from worker.attempt.event_writer import join_chunks


def chunk(token, index=0, timestamp=1.0):
    payload = {"type": "TextChunkEvent", "token": token, "index": index}
    return NewEvent(Origin.ASSISTANT, "TextChunkEvent", payload, timestamp)


def other(kind="StartPromptEvent"):
    return NewEvent(Origin.ASSISTANT, kind, {"type": kind})


def tokens(events):
    return [event.payload.get("token", event.type) for event in events]


def test_adjacent_chunks_are_joined():
    assert tokens(join_chunks([chunk("Hel"), chunk("lo"), chunk(" you")])) == ["Hello you"]


def test_the_first_chunk_gives_the_rest():
    joined = join_chunks([chunk("a", timestamp=1.5), chunk("b", timestamp=2.5)])
    assert [(event.timestamp, event.payload["index"]) for event in joined] == [(1.5, 0)]


def test_other_events_keep_chunks_apart():
    events = [chunk("a"), chunk("b"), other(), chunk("c")]
    assert tokens(join_chunks(events)) == ["ab", "StartPromptEvent", "c"]


def test_chunks_of_different_messages_stay_apart():
    assert tokens(join_chunks([chunk("a", 0), chunk("b", 1), chunk("c", 1)])) == ["a", "bc"]


def test_two_other_events_of_one_type_are_both_kept():
    assert tokens(join_chunks([other(), other()])) == ["StartPromptEvent", "StartPromptEvent"]


def test_the_events_given_are_not_changed():
    first = chunk("a")
    join_chunks([first, chunk("b")])
    assert first.payload["token"] == "a"

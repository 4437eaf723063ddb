"""The event log on the real database: dense numbers, one order, the same bytes."""

import threading
import uuid
from datetime import timedelta

import orjson
import pytest

from shared.db import unit_of_work
from shared.errors import EventNotFoundError, RunNotFoundError
from shared.events import log
from shared.events.log import NewEvent, decode, encode
from shared.lifecycle import RunKind
from shared.models import Origin
from shared.runs import moves
from tests.support.dispatching import RecordingDispatcher

LEASE = timedelta(seconds=20)


def say(token):
    payload = {"type": "TextChunkEvent", "zebra": 1, "a": 0.1, "big": 1e22, "token": token}
    return NewEvent(Origin.ASSISTANT, "TextChunkEvent", payload)


def claim(sessions, run):
    with unit_of_work(sessions) as session:
        moves.claim(session, RecordingDispatcher(), run.id, attempt=1, worker="w", lease_ttl=LEASE)


def test_numbers_are_dense_when_many_append_at_once(committed_sessions, make_run):
    """Promise 4: events are numbered without holes."""
    run = make_run()
    claim(committed_sessions, run)
    barrier = threading.Barrier(6)

    def append():
        barrier.wait()
        for number in range(10):
            with unit_of_work(committed_sessions) as session:
                log.append(session, run.id, [say(str(number)), say("x")], attempt=1)

    threads = [threading.Thread(target=append) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with committed_sessions() as session:
        page = log.read(session, run.id, start=0, limit=1000)
    assert [event.seq for event in page.events] == list(range(2 + 6 * 10 * 2))
    assert page.total == len(page.events)


def test_an_append_that_is_rolled_back_leaves_no_hole(sessions, make_run):
    run = make_run()
    claim(sessions, run)
    with pytest.raises(ZeroDivisionError), unit_of_work(sessions) as session:
        log.append(session, run.id, [say("lost")], attempt=1)
        raise ZeroDivisionError
    with unit_of_work(sessions) as session:
        (kept,) = log.append(session, run.id, [say("kept")], attempt=1)
    assert kept.seq == 2


def test_what_is_published_is_what_is_replayed(sessions, make_run):
    """Promise 4: every reader of a run sees the same bytes."""
    run = make_run()
    claim(sessions, run)
    with unit_of_work(sessions) as session:
        appended = log.append(session, run.id, [say("nul \x00 and half a \ud800 pair"), say("é")], attempt=1)
    with sessions() as session:
        replayed = log.read(session, run.id, start=2, limit=10).events
    assert decode(encode(appended)) == replayed
    assert encode(appended) == encode(replayed)


def test_what_a_process_of_an_earlier_release_publishes_is_read_without_an_attempt(sessions, make_run):
    run = make_run()
    claim(sessions, run)
    with unit_of_work(sessions) as session:
        appended = log.append(session, run.id, [say("a")], attempt=1)
    (published,) = orjson.loads(encode(appended))
    assert published.pop("attempt") == 1
    assert [event.attempt for event in decode(orjson.dumps([published]), run_id=run.id)] == [None]


def test_a_reader_continues_after_its_cursor(sessions, make_run):
    run = make_run()
    claim(sessions, run)
    with unit_of_work(sessions) as session:
        log.append(session, run.id, [say(str(number)) for number in range(5)], attempt=1)
    with sessions() as session:
        page = log.read(session, run.id, start=3, limit=2)
        rest = log.read(session, run.id, start=99, limit=2)
    assert [event.seq for event in page.events] == [3, 4]
    assert page.total == rest.total == 7
    assert rest.events == []


def test_a_batch_whose_commit_was_unsure_is_found_again(sessions, make_run):
    run = make_run()
    claim(sessions, run)
    batch = [say("a"), say("b")]
    with unit_of_work(sessions) as session:
        assert log.find_stored(session, run.id, batch) == []
        stored = log.append(session, run.id, batch, attempt=1)
    with sessions() as session:
        assert log.find_stored(session, run.id, batch) == stored


def test_an_event_is_seen_in_its_own_organization_only(sessions, make_run):
    run = make_run()
    with sessions() as session:
        (event,) = log.read(session, run.id, start=0, limit=1).events
        assert log.get_event(session, event.event_id, organization_id=run.organization_id) == (
            event,
            RunKind.ASSISTANT,
        )
        with pytest.raises(EventNotFoundError):
            log.get_event(session, event.event_id, organization_id=uuid.uuid4())


def test_the_log_of_a_run_that_is_gone_is_none(sessions):
    """As for a reader who has found the run a moment before somebody deleted it."""
    with sessions() as session, pytest.raises(RunNotFoundError):
        log.read(session, uuid.uuid4(), start=0, limit=1)

"""Event streams on a real socket: replay, follow, resume, end. Promise 4 of the design."""

import itertools
import json
import threading
import time
import uuid
from collections import Counter
from contextlib import ExitStack, contextmanager
from datetime import timedelta

import psycopg
import pytest

from api.griptape import event_schemas
from api.streaming import subscriber
from api.streaming.log_reader import AS_SENT
from shared.db import unit_of_work
from shared.events import channels, log
from shared.events.log import NewEvent
from shared.lifecycle import TERMINAL, RunKind, RunStatus, Trigger
from shared.models import Origin
from shared.runs import transitions
from tests.integration.api.serving import parsed
from tests.support.listening import listen
from tests.support.waiting import wait_until

RARELY = timedelta(minutes=5)
REREAD = timedelta(seconds=0.2)
ENDINGS = {
    RunStatus.SUCCEEDED: (Trigger.SUCCEED, {"output": {"type": "TextArtifact", "value": "Hi"}}),
    RunStatus.FAILED: (Trigger.FAIL, {}),
    RunStatus.ERROR: (Trigger.BREAK, {}),
    RunStatus.CANCELLED: (Trigger.CANCEL, {}),
}


@pytest.fixture
def setting_overrides():
    """Nothing comes by itself: what these streams show was replayed or published."""
    return {"stream_reread": RARELY, "stream_heartbeat": RARELY}


@pytest.fixture
def redis_client(committed_settings):
    with channels.make_redis(committed_settings) as client:
        yield client


@pytest.fixture
def tell(committed_sessions):
    """Store chunks in a run; what they were published as is up to the test."""

    def tell(run, *tokens):
        events = [NewEvent(Origin.ASSISTANT, "TextChunkEvent", {"token": token}) for token in tokens]
        with unit_of_work(committed_sessions) as session:
            return log.append(session, run.id, events, attempt=1)

    return tell


@pytest.fixture
def end(committed_sessions):
    """End a RUNNING run."""

    def end(run, status=RunStatus.SUCCEEDED):
        trigger, values = ENDINGS[status]
        with unit_of_work(committed_sessions) as session:
            return transitions.apply(session, run.id, trigger, values=values).events

    return end


@pytest.fixture
def publish(redis_client, committed_settings):
    """Publish stored events, whether or not anybody listens."""
    secret = channels.InstallationSecret(committed_settings)()
    return lambda events: channels.publish(redis_client, events, secret)


@pytest.fixture
def following(served, redis_client):
    """Open a stream, read what is stored of a RUNNING run, and see that the API listens for more."""

    @contextmanager
    def following(run, *, stored=3, **start):
        with served.stream(run.id, **start) as reader:
            reader.take(stored)
            channel = channels.channel_of(run.id)
            wait_until(lambda: redis_client.pubsub_numsub(channel)[0][1], what="a subscription")
            yield reader

    return following


def seqs(frames):
    return [parsed(frame)["seq"] for frame in frames]


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_an_ended_run_is_replayed_to_its_end(served, make_run, status):
    run = make_run(status=status)
    with served.stream(run.id) as reader:
        assert reader.response.headers["content-type"].startswith("text/event-stream")
        assert reader.response.headers["cache-control"] == "no-cache"
        assert reader.response.headers["x-accel-buffering"] == "no"
        assert reader.response.headers["transfer-encoding"] == "chunked"
        frames = list(reader.frames())
    assert seqs(frames) == list(range(len(frames)))
    types = [parsed(frame)["type"] for frame in frames]
    assert types[0] == "AssistantRunQueued"
    assert types[-1] == "AssistantRunCompleted"
    assert types.count("FinishStructureRunEvent") == 1


def test_a_frame_is_the_event_of_the_list(served, make_run, tell):
    run = make_run(status=RunStatus.RUNNING)
    tell(run, "Grüße \u2028 and \u0085, \x00 \n\r")
    listed = served.client.get(f"/api/assistant-runs/{run.id}/events").json()["events"]
    with served.stream(run.id) as reader:
        streamed = [reader.next() for _ in listed]
        assert streamed == [{"seq": number, **event} for number, event in enumerate(listed)]


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_a_live_stream_closes_after_the_last_event_of_any_ending(
    following, make_run, tell, end, publish, status
):
    run = make_run(status=RunStatus.RUNNING)
    with following(run) as reader:
        publish(tell(run, "Hel", "lo"))
        assert [reader.next()["payload"]["token"] for _ in range(2)] == ["Hel", "lo"]
        publish(end(run, status))
        rest = list(reader.frames())
    assert parsed(rest[-1])["type"] == "AssistantRunCompleted"
    assert parsed(rest[-1])["payload"]["status"] == status
    assert seqs(rest) == list(range(5, 5 + len(rest)))


def test_what_is_published_again_is_sent_once(following, make_run, tell, end, publish):
    run = make_run(status=RunStatus.RUNNING)
    with following(run) as reader:
        first, second = tell(run, "a", "b"), tell(run, "c", "d")
        for events in (first, first, second, first, [*first, *second], second):
            publish(events)
        publish(end(run))
        assert seqs(reader.frames()) == [3, 4, 5, 6, 7, 8]


def test_a_lost_publish_is_read_from_the_log(served, following, make_run, tell, end, publish):
    run = make_run(status=RunStatus.RUNNING)
    with following(run) as reader:
        tell(run, "lost", "too")
        publish(tell(run, "seen"))
        assert [reader.next()["payload"]["token"] for _ in range(3)] == ["lost", "too", "seen"]
        end(run)
        publish(end_of := log_tail(served, run))
        assert [event.seq for event in end_of] == [7]
        assert seqs(reader.frames()) == [6, 7]


def log_tail(served, run):
    """The last event alone, as if what came before it had been lost on the way."""
    with served.resources.sessions() as session:
        return log.read(session, run.id, start=0, limit=100).events[-1:]


def test_a_message_that_is_no_event_does_no_harm(following, make_run, tell, end, publish, redis_client):
    run = make_run(status=RunStatus.RUNNING)
    with following(run) as reader:
        tell(run, "stored")
        wait_until(lambda: redis_client.publish(channels.channel_of(run.id), b"{nonsense"))
        assert reader.next()["payload"]["token"] == "stored"
        redis_client.publish(channels.channel_of(run.id), b'[{"seq": 1}]')
        publish(end(run))
        assert seqs(reader.frames()) == [4, 5]


def test_a_reader_resumes_where_it_was(served, make_run):
    run = make_run(status=RunStatus.SUCCEEDED)
    for start, expected in [
        ({}, [0, 1, 2, 3, 4]),
        ({"offset": 3}, [3, 4]),
        ({"offset": "3.0"}, [3, 4]),
        ({"offset": ""}, [0, 1, 2, 3, 4]),
        ({"after": 2}, [3, 4]),
        ({"after": 0, "offset": 4}, [1, 2, 3, 4]),
    ]:
        assert seqs(served.frames(run.id, **start)) == expected, start


@pytest.fixture(params=RunKind)
def make_streamed(request, factories, committed_sessions):
    """Make a run of either kind in some status; returns where its stream is."""
    make = {RunKind.ASSISTANT: factories.run, RunKind.STRUCTURE: factories.structure_run}[request.param]
    return lambda status: f"/api/{request.param}-runs/{make(status=status).id}/events/stream"


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_an_ended_run_has_nothing_for_who_has_seen_its_last_event(served, make_streamed, status):
    """A 204 tells a standard EventSource, which opens again whatever ends, not to."""
    path = make_streamed(status)
    count = served.client.get(path.removesuffix("/stream")).json()["total_count"]
    for start in (
        {"headers": {"Last-Event-ID": str(count - 1)}},
        {"headers": {"Last-Event-ID": str(count + 7)}, "params": {"offset": "0"}},
        {"headers": {"Last-Event-ID": ""}, "params": {"offset": str(count)}},
        {"params": {"offset": str(count)}},
        {"params": {"offset": "2147483647"}},
        {"headers": {"Last-Event-ID": "2147483646"}},
    ):
        answer = served.client.get(path, **start)
        assert (answer.status_code, answer.content) == (204, b""), start
        assert "content-type" not in answer.headers
    for start in ({"headers": {"Last-Event-ID": str(count - 2)}}, {"params": {"offset": str(count - 1)}}):
        answer = served.client.get(path, **start)
        assert (answer.status_code, answer.text.count("data: ")) == (200, 1), start


def test_a_run_that_goes_on_has_a_stream_even_beyond_its_end(served, make_streamed):
    path = make_streamed(RunStatus.RUNNING)
    with served.client.stream("GET", path, params={"offset": "1000"}) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")


def test_a_start_that_is_no_number_is_a_400(served, make_run):
    run = make_run(status=RunStatus.SUCCEEDED)
    for value in ("-1", "x", "1.5", "99999999999", "null"):
        for start in ({"offset": value}, {"after": value}, {"offset": value, "after": 1}):
            with served.stream(run.id, **start) as reader:
                assert reader.response.status_code == 400, start
                assert reader.response.read()


def test_a_reader_that_waits_beyond_the_end_is_let_go_with_the_run(following, make_run, end, publish):
    run = make_run(status=RunStatus.RUNNING)
    with following(run, stored=0, offset=1000) as reader:
        publish(end(run))
        assert list(reader.frames()) == []


def test_every_reader_sees_the_same_bytes(served, make_run, tell, end, publish):
    """Live, late or resumed: promise 4."""
    run = make_run(status=RunStatus.RUNNING)
    read = {}

    def follow(name, **start):
        read[name] = served.frames(run.id, **start)

    readers = [threading.Thread(target=follow, args=(f"live {n}",)) for n in range(4)]
    for reader in readers:
        reader.start()
    for number in range(30):
        publish(tell(run, f"token {number} é", "x" * number))
        if number % 10 == 0:
            readers.append(threading.Thread(target=follow, args=(f"joined {number}",)))
            readers[-1].start()
    publish(end(run))
    for reader in readers:
        reader.join(60)
    follow("late")
    resumed = []
    while not resumed or parsed(resumed[-1])["type"] != "AssistantRunCompleted":
        with served.stream(run.id, offset=len(resumed)) as reader:
            resumed += itertools.islice(reader.frames(), 7)
    assert len(resumed) == 3 + 60 + 2
    assert len(read) == 8
    assert all(frames == resumed for frames in read.values())


def test_a_long_log_is_replayed_whole(served, make_run, tell, end):
    run = make_run(status=RunStatus.RUNNING)
    tell(run, *(str(number) for number in range(950)))
    end(run)
    assert seqs(served.frames(run.id)) == list(range(955))


@pytest.mark.parametrize("setting_overrides", [{"stream_reread": RARELY, "stream_buffer": 4}])
def test_a_slow_reader_gets_everything_and_takes_no_memory(served, following, make_run, tell, end, publish):
    run = make_run(status=RunStatus.RUNNING)
    with following(run) as slow, following(run) as quick:
        longest = 0
        for number in range(150):
            publish(tell(run, f"{number} " + "x" * 60_000))
            quick.next()
            mailboxes = set(served.resources.run_watch.listeners(run.id))
            longest = max(longest, *(len(mailbox) for mailbox in mailboxes))
        publish(end(run))
        assert longest <= 4
        assert seqs(slow.frames()) == list(range(3, 155))
        assert seqs(quick.frames()) == [153, 154]


@pytest.mark.parametrize("setting_overrides", [{"stream_heartbeat": 0.05, "stream_reread": 0.02}])
def test_a_quiet_stream_stays_alive_and_looks_for_itself(following, make_run, tell, end):
    """Nothing is published here: the periodic look into the log brings the events."""
    run = make_run(status=RunStatus.RUNNING)
    with following(run) as reader:
        assert [reader.next_block()[:1] for _ in range(3)] == [b":"] * 3
        tell(run, "found")
        assert reader.next()["payload"]["token"] == "found"
        end(run)
        assert seqs(reader.frames()) == [4, 5]


def test_streams_of_many_runs_share_one_subscription_and_hold_no_database_connection(
    served, make_run, redis_client
):
    runs = [make_run(status=RunStatus.RUNNING) for _ in range(6)]
    with ExitStack() as streams:
        readers = [streams.enter_context(served.stream(run.id)) for run in [*runs, *runs]]
        assert [len(reader.take(3)) for reader in readers] == [3] * 12
        assert len(served.resources.subscriber.channels) == 6
        wait_until(
            lambda: all(
                count for _, count in redis_client.pubsub_numsub(*served.resources.subscriber.channels)
            )
        )
        subscribed = [client for client in redis_client.client_list() if int(client["sub"])]
        assert [client["sub"] for client in subscribed] == ["6"]
        wait_until(lambda: served.resources.engine.pool.checkedout() == 0)
    wait_until(lambda: not served.resources.subscriber.channels, what="readers to be gone")
    wait_until(lambda: not any(int(client["sub"]) for client in redis_client.client_list()))


def test_a_dropped_subscription_is_renewed_and_nothing_is_missed(
    following, make_run, tell, end, publish, redis_client
):
    run = make_run(status=RunStatus.RUNNING)
    with following(run) as reader:
        for round_ in range(2):
            wait_until(lambda: any(int(client["sub"]) for client in redis_client.client_list()))
            redis_client.client_kill_filter(_type="pubsub")
            tell(run, f"unheard {round_}")
            assert reader.next()["payload"]["token"] == f"unheard {round_}"
        publish(end(run))
        assert seqs(reader.frames()) == [5, 6]


@pytest.fixture
def patience(request, monkeypatch):
    """How soon a connection is asked whether it is still there, and has to answer, in seconds."""
    monkeypatch.setattr(subscriber, "PING_INTERVAL", request.param)


@pytest.mark.parametrize("patience", [0.05], indirect=True)
def test_a_redis_that_falls_silent_is_noticed_and_found_again(patience, served, redis_client):
    listener = served.resources.subscriber
    wait_until(lambda: listener.is_connected)
    redis_client.client_pause(1000)
    wait_until(lambda: not listener.is_connected, what="silence to be noticed")
    wait_until(lambda: listener.is_connected, what="a new connection")


@pytest.mark.parametrize("patience", [0.5], indirect=True)
def test_a_quiet_connection_is_kept(patience, served, redis_client):
    listener = served.resources.subscriber
    wait_until(lambda: listener.is_connected)
    connection = listener._commands

    def pings():
        return redis_client.info("commandstats").get("cmdstat_ping", {"calls": 0})["calls"]

    before = pings()
    wait_until(lambda: pings() > before + 2, what="some pings")
    assert listener._commands is connection


@pytest.mark.parametrize("setting_overrides", [{"stream_reread": 0.05}])
def test_without_redis_a_stream_still_follows(served_without_redis, make_run, tell, end):
    run = make_run(status=RunStatus.RUNNING)
    with served_without_redis.stream(run.id) as reader:
        reader.take(3)
        tell(run, "alone")
        assert reader.next()["payload"]["token"] == "alone"
        end(run)
        assert seqs(reader.frames()) == [4, 5]


@pytest.mark.parametrize("setting_overrides", [{"stream_reread": 0.05, "stream_heartbeat": 0.05}])
def test_while_postgresql_is_away_a_stream_stays_alive(
    following, services, make_run, tell, end, committed_engine
):
    run = make_run(status=RunStatus.RUNNING)
    with following(run) as reader:
        tell(run, "before")
        with without_connections(services, committed_engine):
            blocks = [reader.next_block() for _ in range(4)]
            while blocks[-4:] != [b": still here"] * 4:
                assert len(blocks) < 100, blocks
                blocks.append(reader.next_block())  # "before" comes as late as it likes
        tell(run, "after")
        rest = [parsed(block)["payload"]["token"] for block in blocks if block.startswith(b"id")]
        assert [*rest, *(event["payload"]["token"] for event in reader.take(2 - len(rest)))] == [
            "before",
            "after",
        ]
        end(run)
        assert seqs(reader.frames()) == [5, 6]


@contextmanager
def without_connections(services, engine):
    """Break every connection to a database, and let nobody in until the block ends."""
    name = engine.url.database
    with psycopg.connect(services.postgres.database_url("postgres"), autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
        )
        yield
        connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')


def test_the_end_of_the_server_ends_its_streams_at_once(served, make_run):
    runs = [make_run(status=RunStatus.RUNNING) for _ in range(3)]
    with ExitStack() as streams:
        readers = [streams.enter_context(served.stream(run.id)) for run in runs]
        for reader in readers:
            reader.take(3)
        served.server.config.timeout_graceful_shutdown = 30
        started = time.monotonic()
        served.server.should_exit = True
        assert [list(reader.frames()) for reader in readers] == [[], [], []]
        assert time.monotonic() - started < 15


def forged(run, *, seq, **changes):
    """What somebody who has only Redis may say of a run."""
    event = {
        "run_id": str(run.id),
        "seq": seq,
        "event_id": str(uuid.uuid4()),
        "origin": "SYSTEM",
        "type": "AssistantRunCompleted",
        "payload": {"type": "AssistantRunCompleted", "status": "SUCCEEDED"},
        "timestamp": 1.0,
        "created_at": "2026-01-01T00:00:00+00:00",
    }
    return json.dumps([{**event, **changes}]).encode()


FORGERIES = {
    "a false end": lambda run: forged(run, seq=3),
    "no number": lambda run: forged(run, seq=None),
    "a number that is text": lambda run: forged(run, seq="3"),
    "another run": lambda run: forged(run, seq=3, run_id=str(uuid.uuid4())),
    "no JSON": lambda _run: b"\xff{bad",
    "null": lambda _run: b"null",
    "a number": lambda _run: b"42",
    "a list of no events": lambda _run: b"[42, null]",
    "nothing": lambda _run: b"",
    "a seal of nobody": lambda run: bytes(channels.SEAL_BYTES) + forged(run, seq=3),
}


@pytest.mark.parametrize("what", FORGERIES)
def test_what_nobody_of_ours_has_published_is_not_believed(
    following, make_run, redis_client, tell, end, publish, what
):
    """It makes a reader look into PostgreSQL, and harms nobody."""
    run = make_run(status=RunStatus.RUNNING)
    with following(run) as reader:
        for _ in range(3):
            redis_client.publish(channels.channel_of(run.id), FORGERIES[what](run))
        publish(tell(run, "true"))
        assert reader.next()["payload"]["token"] == "true"
        publish(end(run))
        assert [parsed(frame)["seq"] for frame in reader.frames()] == [4, 5]


def test_what_was_sealed_for_one_run_is_believed_of_no_other(
    following, make_run, redis_client, tell, committed_settings
):
    secret = channels.InstallationSecret(committed_settings)()
    one, other = (make_run(status=RunStatus.RUNNING) for _ in range(2))
    message = channels.message_of(channels.channel_of(other.id), tell(other, "of the other"), secret)
    with following(one) as reader:
        redis_client.publish(channels.channel_of(one.id), message)
        (told,) = tell(one, "of this one")
        redis_client.publish(channels.channel_of(one.id), channels.NEWS)
        assert reader.next()["payload"] == told.payload


def test_a_flood_of_forgeries_makes_few_looks(following, served, make_run, redis_client, tell, monkeypatch):
    run = make_run(status=RunStatus.RUNNING)
    log_reader = served.resources.hub._log_reader
    looks = []
    page = log_reader._page
    monkeypatch.setattr(log_reader, "_page", lambda *given: (looks.append(1), page(*given))[1])
    with following(run) as reader:
        with redis_client.pipeline(transaction=False) as pipeline:
            for _ in range(5_000):
                pipeline.publish(channels.channel_of(run.id), b"flood")
            pipeline.execute()
        tell(run, "after")
        redis_client.publish(channels.channel_of(run.id), channels.NEWS)
        assert reader.next()["payload"]["token"] == "after"
    assert len(looks) < 100


def test_what_is_sealed_is_shown_without_a_look_into_postgresql(
    following, served, make_run, tell, publish, monkeypatch
):
    run = make_run(status=RunStatus.RUNNING)
    with following(run) as reader:
        wait_until(lambda: served.resources.subscriber._secret is not None)
        publish(tell(run, "first"))
        reader.next()
        monkeypatch.setattr(served.resources.hub._log_reader, "_page", None)
        publish(tell(run, "second"))
        assert reader.next()["payload"]["token"] == "second"


@pytest.mark.parametrize("setting_overrides", [{"stream_reread": REREAD, "stream_heartbeat": RARELY}])
def test_watched_streams_cost_no_more_statements_than_one(served, make_run):
    """One statement an interval looks after the runs of all streams; who lacks nothing reads nothing."""
    runs = [make_run(status=RunStatus.RUNNING) for _ in range(6)]
    with ExitStack() as streams:
        readers = [streams.enter_context(served.stream(run.id)) for run in runs * 4]
        for reader in readers:  # which are kept: one that nobody refers to closes its connection
            reader.take(3)
        watch = served.resources.run_watch
        assert len(watch.runs) == len(runs)
        wait_until(lambda: not watch._doubted, what="the looks that the joins have caused")
        looks, statements = [], []
        listen(served.resources.upkeep_engine, "before_cursor_execute", lambda *args: looks.append(args[2]))
        listen(served.resources.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
        begun = time.monotonic()
        wait_until(lambda: len([look for look in looks if "event_count" in look]) >= 4, what="four looks")
        intervals = (time.monotonic() - begun) / REREAD.total_seconds()
        assert len([look for look in looks if "event_count" in look]) <= intervals + 2
        assert statements == []


def test_readers_of_a_batch_share_its_encoding(following, served, make_run, tell, publish, end, monkeypatch):
    encoded = Counter()
    encode = event_schemas.ENCODE[RunKind.ASSISTANT]

    def counted(stored):
        encoded[stored.seq] += 1
        return encode(stored)

    monkeypatch.setitem(event_schemas.ENCODE, RunKind.ASSISTANT, counted)
    run = make_run(status=RunStatus.RUNNING)
    with ExitStack() as streams:
        readers = [streams.enter_context(following(run)) for _ in range(10)]
        late = streams.enter_context(following(run, stored=0, offset=4))
        wait_until(lambda: len(served.resources.run_watch.listeners(run.id)) == 11, what="all readers")
        wait_until(lambda: not served.resources.hub._log_reader._reads, what="their reads")
        wait_until(lambda: served.resources.subscriber._secret is not None)
        publish(tell(run, "one", "two", "three"))
        published = [reader.take(3) for reader in readers]
        assert published == [published[0]] * 10
        assert late.take(2) == published[0][1:]
        publish(end(run))
        assert [seqs(reader.frames()) for reader in readers] == [[6, 7]] * 10
    assert {seq: count for seq, count in encoded.items() if seq >= 3} == dict.fromkeys(range(3, 8), 1)


def test_readers_who_join_together_share_a_read(served, make_run, tell, end, monkeypatch):
    run = make_run(status=RunStatus.RUNNING)
    tell(run, "stored")
    log_reader, join = served.resources.hub._log_reader, threading.Event()
    reads, page = [], log_reader._page

    def slow_page(run_id, start):
        reads.append(start)
        assert join.wait(60)
        return page(run_id, start)

    monkeypatch.setattr(log_reader, "_page", slow_page)
    with ExitStack() as streams:
        readers = [streams.enter_context(served.stream(run.id)) for _ in range(12)]
        wait_until(lambda: len(served.resources.run_watch.listeners(run.id)) == 12, what="all readers")
        join.set()
        assert [len(reader.take(4)) for reader in readers] == [4] * 12
        assert reads.count(0) == 1


def test_readers_who_catch_up_together_share_every_read(served, make_run, tell, end, monkeypatch):
    run = make_run(status=RunStatus.RUNNING)
    tell(run, *(str(number) for number in range(500)))
    log_reader, reads = served.resources.hub._log_reader, []
    monkeypatch.setattr("api.streaming.log_reader.KEEP_TIME", 60.0)
    page = log_reader._page
    monkeypatch.setattr(log_reader, "_page", lambda *given: (reads.append(given), page(*given))[1])
    with ExitStack() as streams:
        readers = [streams.enter_context(served.stream(run.id)) for _ in range(6)]
        assert [len(reader.take(503)) for reader in readers] == [503] * 6
        assert len(reads) <= 2 * 6
        end(run)
        log_reader._reads.clear()
        served.resources.run_watch.doubt(run.id)
        assert [seqs(reader.frames()) for reader in readers] == [[503, 504]] * 6


@pytest.mark.parametrize("setting_overrides", [{"stream_reread": RARELY, "stream_buffer": 4}])
def test_a_slow_reader_neither_delays_nor_grows_the_others(
    served, following, make_run, tell, publish, monkeypatch
):
    """It reads the log when it comes; the others get what is published, without a read."""
    run = make_run(status=RunStatus.RUNNING)
    with ExitStack() as streams:
        quick = [streams.enter_context(following(run)) for _ in range(3)]
        streams.enter_context(following(run))  # which nobody reads from now on
        wait_until(lambda: served.resources.subscriber._secret is not None)
        log_reader, reads = served.resources.hub._log_reader, []
        page = log_reader._page
        monkeypatch.setattr(log_reader, "_page", lambda *given: (reads.append(given), page(*given))[1])
        for number in range(60):
            publish(tell(run, f"{number} " + "x" * 100_000))
            assert [reader.next()["payload"]["token"].split()[0] for reader in quick] == [str(number)] * 3
        kept = sorted(len(mailbox) for mailbox in set(served.resources.run_watch.listeners(run.id)))
        assert kept[:3] == [0] * 3
        assert kept[3] <= 4
        assert len(reads) <= 1
        assert served.resources.budget.used <= AS_SENT * 100_100

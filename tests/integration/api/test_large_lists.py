"""Lists and logs whose rows are large: whole in what they say, bounded in what they hold."""

import socket
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx2
import psutil
import pytest
from sqlalchemy import inspect

from api.watsonx.lines import EventArray, EventLines
from shared.db import unit_of_work
from shared.events import log
from shared.events.log import NewEvent
from shared.lifecycle import RunStatus
from shared.models import Assistant, Message, Origin, Run
from shared.rows import sizes
from tests.support.waiting import wait_until

LARGE = "x" * 300_000
INCOMPRESSIBLE = "".join(uuid.uuid4().hex for _ in range(10_000))
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def log_of(sessions):
    """Append events to a run's log, with so many characters each."""

    def log_of(run, *lengths, sessions=sessions):
        events = [
            NewEvent(Origin.ASSISTANT, "Said", {"type": "Said", "text": "é" * (length // 2)})
            for length in lengths
        ]
        with unit_of_work(sessions) as session:
            return log.append(session, run.id, events, attempt=run.attempt)

    return log_of


def test_a_slice_of_a_log_is_bounded_in_bytes_and_the_next_goes_on_after_it(client, make_run, log_of):
    run = make_run(status=RunStatus.RUNNING)
    log_of(run, *[400_000] * 7, 3_000_000, 10)
    url = f"/api/assistant-runs/{run.id}/events"
    seen, offset, slices = [], 0, 0
    while True:
        page = client.get(url, params={"offset": offset}).json()
        assert page["next_offset"] == offset + page["count"]
        assert page["total_count"] == 12
        if not page["events"]:
            break
        assert len(str(page["events"])) < 2_000_000 or page["count"] == 1
        seen += [event["event_id"] for event in page["events"]]
        offset, slices = page["next_offset"], slices + 1
    assert (len(seen), len(set(seen))) == (12, 12)
    assert slices > 3


def test_events_of_an_earlier_release_are_measured_when_they_are_read(sessions, make_run, log_of):
    run = make_run(status=RunStatus.RUNNING)
    log_of(run, 600_000, 600_000, 600_000)
    with unit_of_work(sessions) as session:
        session.connection().exec_driver_sql("UPDATE run_events SET size = NULL")
        assert len(log.read(session, run.id, start=3, limit=100).events) == 2


@pytest.mark.parametrize("text", [LARGE, INCOMPRESSIBLE], ids=["compressed", "not compressed"])
def test_rows_are_measured_before_they_are_loaded(sessions, make_run, text):
    runs = [make_run(input=text if number % 3 else "short") for number in range(9)]
    ids = [run.id for run in runs]
    with unit_of_work(sessions) as session:
        assert not sizes.are_small(session, Run, ids, most=1_000_000)
        assert sizes.are_small(session, Run, [ids[0], ids[3]], most=1_000_000)
        batches = sizes.batches(session, Run, ids, most=1_000_000)
    assert [identifier for batch in batches for identifier in batch] == ids
    assert 2 <= len(batches) <= 4


def listed(client, path, key):
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return body[key] if key else body


@pytest.fixture
def large(client, make_run, sessions):
    """Rows of every kind that is listed, all large; and where they are listed."""
    made = {}

    def post(path, **fields):
        answer = client.post(f"/api/{path}", json={"name": "x", **fields})
        assert answer.status_code in {200, 201}, answer.text
        return answer.json() if answer.content else None

    runs = [make_run(input=LARGE) for _ in range(8)]
    thread = post("threads", messages=[])["thread_id"]
    for number in range(8):
        post(f"threads/{thread}/messages", input=f"{number}{LARGE}", output=LARGE)
        post("assistants", input=LARGE)
        post("threads", metadata={"text": LARGE})
        post("rules", rule="short", metadata={"text": LARGE})
        post("rulesets", metadata={"text": LARGE})
    structure = post("structures")["structure_id"]
    post(f"structures/{structure}/runs", execution="external", args=["x"])
    run = post(f"structures/{structure}/runs", execution="external")["structure_run_id"]
    for number in range(8):
        spans = [{"trace_id": "t", "span_id": str(number), "name": "n", "attributes": {"text": LARGE}}]
        assert client.post(f"/api/structure-runs/{run}/spans", json=spans).status_code == 200
    for _ in range(8):
        post(f"structures/{structure}/runs", execution="external", args=[LARGE])
    assistant = runs[0].assistant_id
    made["/api/assistants"] = ("assistants", "assistant_id", 9)
    made[f"/api/assistants/{assistant}/runs"] = ("assistant_runs", "assistant_run_id", 8)
    made[f"/api/structures/{structure}/runs"] = ("structure_runs", "structure_run_id", 10)
    made[f"/api/structure-runs/{run}/spans"] = ("spans", "span_id", 8)
    made[f"/api/threads/{thread}/messages"] = ("messages", "message_id", 8)
    made["/api/threads"] = ("threads", "thread_id", 9)
    made["/api/rules"] = ("rules", "rule_id", 8)
    made["/api/rulesets"] = ("rulesets", "ruleset_id", 8)
    made["/api/v1/agents"] = (None, "id", 9)
    made["/api/v1/threads"] = (None, "id", 9)
    made["/api/v1/orchestrate/runs"] = ("data", "id", 8)
    made[f"/v1/assistants/{assistant}/runs"] = (None, "id", 8)
    made[f"/v1/threads/{thread}/messages"] = (None, "id", 16)
    return made


def test_a_list_of_large_rows_says_the_same_as_one_that_is_read_at_once(client, large, monkeypatch):
    """Whole, in order, with everything that stands beside it."""
    in_pieces = {path: client.get(path).json() for path in large}
    monkeypatch.setattr(sizes, "are_small", lambda *_, **__: True)
    for path, (key, name, count) in large.items():
        at_once = client.get(path).json()
        assert in_pieces[path] == at_once, path
        items = at_once[key] if key else at_once
        assert len({item[name] for item in items}) == count, path


def test_a_page_of_large_rows_has_its_pagination(client, large):
    path = next(path for path in large if path.endswith("/messages"))
    page = client.get(path, params={"page": 2, "page_size": 3}).json()
    assert [message["index"] for message in page["messages"]] == [3, 4, 5]
    assert page["pagination"]["total_count"] == 8


def test_what_is_deleted_while_a_list_is_sent_is_left_out(sessions, make_run, client, large):
    with unit_of_work(sessions) as session:
        message = session.query(Message).first()
        ids = [message.id, uuid.uuid4()]
        assert [row.id for row in sizes.load(session, Message, ids)] == [message.id]
        assert sizes.batches(session, Message, ids, most=1_000)[-1] == [ids[1]]
        assert sizes.large_columns(Assistant)


def resident():
    return psutil.Process().memory_info().rss


def test_readers_of_large_logs_hold_little_however_slow_they_are(
    served, make_run, committed_sessions, log_of
):
    """60 events of 1 MB: lists of them, and streams that nobody reads."""
    run = make_run(status=RunStatus.RUNNING)
    for _ in range(60):
        log_of(run, 1_000_000, sessions=committed_sessions)
    path = f"/api/assistant-runs/{run.id}/events"
    base = str(served.client.base_url)
    headers = dict(served.client.headers)

    def read_all(_):
        with httpx2.Client(base_url=base, headers=headers, timeout=60) as reader:
            return reader.get(path, params={"limit": 1000}).json()["count"]

    before = resident()
    most = [before]
    done = threading.Event()
    watcher = threading.Thread(
        target=lambda: [most.append(resident()) for _ in iter(lambda: done.wait(0.02), True)]
    )
    watcher.start()
    with ExitStack() as open_streams:
        for _ in range(6):
            client = open_streams.enter_context(httpx2.Client(base_url=base, headers=headers, timeout=60))
            open_streams.enter_context(client.stream("GET", f"{path}/stream"))
        with ThreadPoolExecutor(6) as pool:
            counts = list(pool.map(read_all, range(12)))
        assert all(4 <= count <= 5 for count in counts)  # three small ones come first
        assert served.client.get("/health/live").status_code == 200
    done.set()
    watcher.join()
    assert max(most) - before < 150_000_000


def test_what_many_readers_hold_who_take_next_to_nothing_does_not_grow_with_their_number(
    served, make_run, committed_sessions, log_of
):
    run = make_run(status=RunStatus.RUNNING)
    for _ in range(4):
        log_of(run, 1_000_000, sessions=committed_sessions)
    url = served.client.base_url.join(f"/api/assistant-runs/{run.id}/events/stream")
    key = served.client.headers["Authorization"]
    request = f"GET {url.path} HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\n\r\n".encode()
    before = resident()
    with ExitStack() as readers:
        sockets = []
        for _ in range(80):
            reader = readers.enter_context(socket.socket())
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.connect((url.host, url.port))
            reader.sendall(request)
            sockets.append(reader)
        wait_until(
            lambda: all(len(reader.recv(2000, socket.MSG_PEEK)) > 1000 for reader in sockets),
            timeout=60,
            what="all readers to have been sent something",
        )
        most = resident()
    assert most - before < 120_000_000


async def nothing():
    return
    yield


@pytest.mark.parametrize("answer", [EventArray, EventLines])
def test_a_reader_of_events_keeps_nothing_large_of_their_run(sessions, make_run, answer):
    run_id = make_run(input=LARGE).id
    with unit_of_work(sessions) as session:
        run = session.get_one(Run, run_id)
        answer(nothing(), run, heartbeat=5)
        loaded = inspect(run).dict
        assert "input" not in loaded
        assert {"id", "thread_id", "structure_ids", "model"} <= set(loaded)

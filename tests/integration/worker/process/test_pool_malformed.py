"""What a worker process makes of messages that are none, from whoever can write to its Redis."""

import base64
import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import psutil
import pytest

from cli.local.embedded.redis import EmbeddedRedis
from shared.settings import Settings
from tests.support.pool_bench import PoolBench, eventually

DROPPED = "malformed message dropped"


@pytest.fixture
def bench(tmp_path: Path) -> Generator[PoolBench]:
    with EmbeddedRedis(tmp_path / "redis", durable=False) as server:
        settings = Settings.model_validate(
            {"database_url": "postgresql://nowhere/none", "redis_url": server.url}
        )
        bench = PoolBench(settings, tmp_path)
        yield bench
        bench.close()


def encoded(body: object) -> str:
    return base64.b64encode(json.dumps(body).encode()).decode()


def envelope(**changes: Any) -> dict[str, Any]:
    """A message as Celery writes it, of a task that would tell of itself, with changes."""
    told = {
        "body": encoded([[], {}, {"callbacks": None}]),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": "test.nothing", "id": "forged", "retries": 0},
        "properties": {
            "correlation_id": "forged",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "runs"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": "tag",
        },
    }
    return {**told, **changes}


def headers(**changes: Any) -> dict[str, Any]:
    return envelope(headers={**envelope()["headers"], **changes})


def properties(**changes: Any) -> dict[str, Any]:
    return envelope(properties={**envelope()["properties"], **changes})


NO_MESSAGES = [
    b"{bad",
    b"42",
    b"null",
    b"[]",
    b"{}",
    b'"a string"',
    b"\xff\xfe\x00",
    b"",
    b"1" * 5_000,
    b"[" * 200_000,
    b'{"job": "of another program", "args": [1, 2]}',
    b'{"__type__": "datetime", "__value__": "never"}',
]

NO_TASKS = [
    envelope(body=None),
    envelope(body=[1]),
    envelope(body="%%%"),
    envelope(body=""),
    envelope(body=encoded(42)),
    envelope(body=encoded({"task": "test.nothing"})),
    envelope(body=encoded([[], {}])),
    envelope(body=encoded([{}, [], None])),
    envelope(body=encoded([["x" * 100_000], {}, None])),
    envelope(body="A" * 2_000_000),
    envelope(body=encoded([[], {}, {"callbacks": [{"task": "test.nothing", "args": [], "options": {}}]}])),
    envelope(body=base64.b64encode(b"[" * 10_000).decode()),
    envelope(headers=None),
    envelope(headers=[]),
    envelope(headers={}),
    envelope(properties=None),
    envelope(properties={}),
    {**envelope(), "content-type": "application/x-python-serialize"},
    {**envelope(), "content-type": None},
    {**envelope(), "content-encoding": "klingon"},
    properties(delivery_tag=None),
    properties(delivery_tag=["x"]),
    properties(delivery_tag={}),
    properties(delivery_info=None),
    properties(delivery_info="runs"),
    properties(delivery_info={"exchange": 1, "routing_key": []}),
    properties(body_encoding="rot13"),
    headers(task=None),
    headers(task=42),
    headers(task=["test.nothing"]),
    headers(task="nobody.knows"),
    headers(task="celery.map"),
    headers(id=None),
    headers(id=42),
    headers(id="x" * 10_000),
    headers(root_id={}),
    headers(argsrepr=7),
    headers(eta="never"),
    headers(eta="9999-12-31T23:59:59+00:00"),
    headers(eta=-1),
    headers(expires="soon"),
    headers(expires=1e300),
    headers(compression="zlib"),
]

LENIENT = [
    headers(retries="many", timelimit=7, group={}, stamps=3, stamped_headers=3, shadow=[]),
    headers(ignore_result="x", replaced_task_nesting="x", chord=[1], errbacks=3, priority="x"),
    properties(reply_to={"not": "an address"}, correlation_id=[]),
]


def test_what_is_no_task_is_dropped_and_the_runs_of_the_process_go_on(bench: PoolBench) -> None:
    with bench.worker() as process:
        running = bench.start_task("wait", 120)
        bad = [*NO_MESSAGES, *(json.dumps(one).encode() for one in NO_TASKS)]
        for message in bad:
            bench.redis.lpush("runs", message)
        bench.heard("finished", bench.send("nothing"))  # what is behind them is not lost
        eventually(lambda: bench.log.count(DROPPED) >= len(bad), "the messages to be dropped")

        assert bench.log.count(DROPPED) == len(bad)
        assert "Traceback" not in bench.log
        assert "forged" not in bench.log
        assert process.poll() is None
        eventually(lambda: bench.redis.hlen("unacked") == 0, "the last of them to be given back")
        bench.terminate(running.id)
        assert bench.heard("stopped", running.id).pid == running.pid


def test_what_a_task_need_not_have_is_left_unread(bench: PoolBench) -> None:
    with bench.worker():
        for message in LENIENT:
            bench.redis.lpush("runs", json.dumps(message))
            bench.heard("finished", "forged")
        assert DROPPED not in bench.log


@pytest.mark.full_length
def test_a_flood_of_garbage_costs_little_and_passes(bench: PoolBench) -> None:
    with bench.worker(concurrency=2) as process:
        running = bench.start_task("wait", 120)
        with bench.redis.pipeline() as pipe:
            for _ in range(5_000):
                pipe.lpush("runs", "{bad")
            pipe.execute()
        bench.heard("finished", bench.send("nothing"))

        spent = psutil.Process(process.pid).cpu_times()
        eventually(lambda: pause_costs_little(process.pid), "the process to be idle")
        assert psutil.Process(process.pid).cpu_times().user - spent.user < 60
        assert process.poll() is None
        bench.terminate(running.id)
        bench.heard("stopped", running.id)


def pause_costs_little(pid: int) -> bool:
    return psutil.Process(pid).cpu_percent(interval=0.5) < 20


CONTROLS = [
    None,
    42,
    [],
    "text",
    {},
    {"method": None},
    {"method": "nonsense"},
    {"method": "ping", "destination": 42},
    {"method": "ping", "arguments": [1]},
    {"method": "ping", "ticket": 5},
    {"method": "ping", "reply_to": 42},
    {"method": "ping", "reply_to": {"exchange": 1}},
    {"method": "ping", "unheard_of": True},
]


PING = encoded({"method": "ping"})

NO_CONTROLS = [
    {**envelope(body=PING), "content-type": "application/x-python-serialize"},
    {**envelope(body=PING), "content-type": ["application/json"]},
    {**envelope(body=PING), "content-encoding": "klingon"},
    envelope(body="%%%"),
    envelope(body=base64.b64encode(b"\xff\xfe").decode()),
    envelope(body=base64.b64encode(b"[" * 10_000).decode()),
    envelope(body="A" * 2_000_000),
    envelope(body=encoded({"method": "revoke", "arguments": {"task_id": {"a": 1}, "terminate": True}})),
    envelope(body=encoded({"method": "revoke", "arguments": {"task_id": 7, "signal": [], "terminate": "x"}})),
    envelope(body=encoded({"method": "rate_limit", "arguments": {"task_name": [], "rate_limit": {}}})),
    envelope(body=encoded({"method": "pool_grow", "arguments": {"n": "many"}})),
    envelope(body=encoded({"method": "ping", "arguments": {"unheard": 1}})),
    envelope(body=PING, headers={"compression": "zlib"}),
    envelope(body=PING, headers=[]),
    envelope(body=PING, properties=None),
]

CONTROL_CHANNEL = "/0.celery.pidbox"


def test_broken_control_messages_are_dropped_and_good_ones_obeyed(bench: PoolBench) -> None:
    with bench.worker() as process:
        running = bench.start_task("wait", 120)
        for message in NO_MESSAGES:
            assert bench.redis.publish(CONTROL_CHANNEL, message) == 1
        for body in CONTROLS:
            bench.redis.publish(CONTROL_CHANNEL, json.dumps(envelope(body=encoded(body))))
        for clock in ("late", [], 10**400, -(10**400)):
            control = envelope(body=encoded({"method": "ping"}), headers={"clock": clock})
            bench.redis.publish(CONTROL_CHANNEL, json.dumps(control))
        for message in NO_CONTROLS:
            bench.redis.publish(CONTROL_CHANNEL, json.dumps(message))

        bench.terminate(running.id)

        assert bench.heard("stopped", running.id).reason == "cancelled"
        assert process.poll() is None
        assert bench.app.control.ping(timeout=30, limit=1)
        assert "Traceback" not in bench.log
        assert max(map(len, bench.log.splitlines())) < 1_000


def test_garbage_among_the_unacknowledged_keeps_nothing_from_being_restored(bench: PoolBench) -> None:
    good = json.dumps([properties(delivery_tag="lost"), "", "runs"])
    for tag, entry in (("bad1", "{bad"), ("bad2", "42"), ("bad3", "[1, 2]"), ("lost", good)):
        bench.redis.hset("unacked", tag, entry)
        bench.redis.zadd("unacked_index", {tag: 1})

    with bench.worker():
        bench.heard("finished", "forged")
        eventually(lambda: not bench.redis.zcard("unacked_index"), "the garbage to be dropped")

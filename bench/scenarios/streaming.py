"""`stream`, `capacity`, `fanout`, `idle_streams`: few readers, many runs, many readers, idle streams."""

import asyncio
import resource
import time
from collections.abc import Iterator, Sequence
from math import inf
from statistics import median
from typing import Final

import orjson

from bench import limits, load
from bench.figures import Figure, Rounds, Target, at_most, in_rounds, percentile
from bench.plant import MEGA, OF_ASSISTANT, Plant, report
from bench.scenarios.bursts import MILLI, NOOP

ROUNDS: Final = 3
CALLERS: Final = 32
WORDS_PER_SECOND: Final = 50
START_TIMEOUT: Final = 10.0  # seconds until a run has begun
KILO: Final = 1000

STREAMED: Final = 100  # words of the run that is read
AUDIENCES: Final = (1, 20)  # readers
STREAM_TIMEOUT: Final = 15.0  # seconds until it has been read to its end

CAPACITIES: Final = (50, 100, 200)  # runs at once
WORDS: Final = 150  # of each run
IDEAL: Final = (WORDS + 6) / WORDS_PER_SECOND  # seconds; echo says six words before the text
CAPACITY_TIMEOUT: Final = 45.0  # seconds until the runs of one size have ended
CHUNK_GOAL: Final = 0.1  # milliseconds of CPU, beside the framework's

READERS: Final = 1000
TICK_MILLIS: Final = 50
TICKS: Final = 2000  # more than are read
READ_SECONDS: Final = 3.0  # after the join
LAG_TIMEOUT: Final = 12.0  # seconds until what was emitted in these has been read
KEEP_EVERY: Final = 20  # readers of which one keeps its frames
JOIN_TIMEOUT: Final = 20.0  # seconds
END_TIMEOUT: Final = 40.0  # seconds until a thousand no-op runs have ended and been read

IDLE_STREAMS: Final = 10_000
JOIN_BATCH: Final = 500  # streams opened at once
IDLE_JOIN_SHARE: Final = 0.6  # of the scenario's time; what has not joined then stays out
IDLE_SECONDS: Final = 2.0  # of a window in which nothing happens
OTHER_FILES: Final = 500  # open files that are no streams
GETS: Final = 60  # of a window


def stream(plant: Plant, within: float) -> Iterator[Figure]:
    """Read one run that streams 50 words a second, by one reader and by twenty."""
    report("stream: one run of 50 words a second")
    assistant_id = plant.assistant(f"words/{STREAMED}-{MILLI // WORDS_PER_SECOND}")

    def rounds(found: Rounds) -> None:
        for number in AUDIENCES:
            run_id = plant.stack.create_run(assistant_id, args=["Hi"])
            lags = load.run(read_to_the_end(plant, run_id, number))
            name = f"word emitted → read, {number} reader" + ("s" if number > 1 else "")
            found.add(f"{name}, p50", "ms", percentile(lags, 50))
            found.add(f"{name}, p99", "ms", percentile(lags, 99))

    yield from in_rounds(ROUNDS, "stream", rounds, within=within)


async def read_to_the_end(plant: Plant, run_id: str, number: int) -> list[float]:
    """Milliseconds of each word to each reader, of those emitted after the join."""
    readers = load.Readers(plant.server)
    await readers.join([events_of(run_id)] * number, keep_every=1)
    await readers.opened(JOIN_TIMEOUT)
    joined_at = time.time()
    return [lag for one in await readers.ended(STREAM_TIMEOUT) for lag in lags_of(one, since=joined_at)]


def events_of(run_id: str) -> str:
    """The path of a run's stream."""
    return f"/api/assistant-runs/{run_id}/events/stream"


def lags_of(reading: load.Reading, *, since: float, until: float = inf) -> list[float]:
    """Milliseconds from emission to arrival of what was emitted between two instants."""
    return [
        (moment - instant) * MILLI
        for moment, frame in reading.frames
        for instant in emissions(frame)
        if since < instant <= until
    ]


def arrived_until(reading: load.Reading) -> float:
    """When that was emitted which arrived last; 0 if nothing did."""
    return max(emissions(reading.frames[-1][1]), default=0.0) if reading.frames else 0.0


def emissions(frame: bytes) -> list[float]:
    """When the contents of a frame were emitted.

    A tick says it; words are that instant themselves, several in one joined chunk.
    """
    event = orjson.loads(frame)
    payload = event.get("payload", event)
    return [payload["sent_at"]] if "sent_at" in payload else [*map(float, payload.get("token", "").split())]


def capacity(plant: Plant, within: float) -> Iterator[Figure]:
    """Runs of 50 words a second each, all at once: how long they take, and how late they start."""
    report("capacity: runs that stream 50 words a second")
    assistant_id = plant.assistant("echo")
    text = " ".join(["word"] * WORDS)
    alone = median(limits.griptape_alone()["chunk"])

    def rounds(found: Rounds) -> None:
        for number in CAPACITIES:
            before = plant.cpu()["worker"]
            since = time.time()
            requests = [plant.create(assistant_id, args=[text])] * number
            load.run(load.in_flight(plant.server, requests, CALLERS))
            rows = await_ends(plant, assistant_id, since, number)
            spent = (plant.cpu()["worker"] - before) * MILLI / (number * (WORDS + 6))
            is_largest = number == max(CAPACITIES)
            longest = max(row[0] for row in rows) / IDEAL
            last = max(row[1] for row in rows)
            found.add(
                f"{number} runs: the longest, of its text",
                "times",
                longest,
                target=at_most(1.05) if is_largest else None,
            )
            found.add(f"{number} runs: last start", "s", last, target=at_most(2) if is_largest else None)
            found.add(f"{number} runs: CPU of the worker a chunk", "ms", spent, limit=alone)
            if is_largest:
                found.add(
                    "CPU a chunk beside griptape's own", "ms", spent - alone, target=at_most(CHUNK_GOAL)
                )

    yield from in_rounds(ROUNDS, "capacity", rounds, within=within)


def await_ends(plant: Plant, assistant_id: str, since: float, number: int) -> list[tuple[float, float]]:
    """Seconds that each run took, and that each waited for its start, once all have SUCCEEDED.

    Raises:
        TimeoutError: they have not.
    """
    query = (
        "SELECT extract(epoch FROM completed_at - started_at)::float8,"  # noqa: S608
        " extract(epoch FROM started_at - created_at)::float8"
        f" FROM runs WHERE {OF_ASSISTANT}"
        " AND created_at >= to_timestamp(%s) AND status = 'SUCCEEDED'"
    )
    deadline = time.monotonic() + CAPACITY_TIMEOUT
    while len(rows := plant.database.execute(query, (assistant_id, since)).fetchall()) < number:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(rows)} of {number} runs have succeeded after {CAPACITY_TIMEOUT:g} s")
        time.sleep(0.05)
    return rows


def fanout(plant: Plant, within: float) -> Iterator[Figure]:
    """1,000 readers of one run with 20 events a second; then 1,000 runs with one reader each."""
    report(f"fanout: {READERS:,} readers of one run")
    ticking, noop = plant.assistant(f"ticks/{TICKS}-{TICK_MILLIS}"), plant.assistant(NOOP)

    def one_run(found: Rounds) -> None:
        run_id = plant.stack.create_run(ticking, args=["Hi"])
        plant.stack.wait_for(run_id, "RUNNING", timeout=START_TIMEOUT)
        joined, lags, grown, share = load.run(read_one_run(plant, run_id))
        plant.stack.cancel(run_id)
        found.add("1 run: join of 1,000 readers", "s", joined, target=at_most(1.0))
        found.add("1 run: event emitted → read, p50", "ms", percentile(lags, 50))
        found.add("1 run: event emitted → read, p99", "ms", percentile(lags, 99), target=at_most(250))
        found.add("1 run: memory of the API a reader", "KB", grown, target=at_most(60))
        found.add("1 run: cores of the load generator", "", share)

    def many_runs(found: Rounds) -> None:
        with plant.worker_stopped():
            requests = [plant.create(noop, args=["Hi"])] * READERS
            answers = load.run(load.in_flight(plant.server, requests, CALLERS))
            run_ids = [answer.json["assistant_run_id"] for answer in answers]
            joined, lags, share = load.run(read_own_runs(plant, run_ids))
        found.add("1,000 runs: join of a reader each", "s", joined)
        found.add("1,000 runs: end stored → read, p50", "ms", percentile(lags, 50))
        found.add("1,000 runs: end stored → read, p99", "ms", percentile(lags, 99))
        found.add("1,000 runs: cores of the load generator", "", share)

    yield from in_rounds(ROUNDS, "fanout", one_run, within=within * 0.4)
    report(f"fanout: {READERS:,} runs with one reader each")
    yield from in_rounds(ROUNDS, "fanout", many_runs, within=within * 0.6)


async def read_one_run(plant: Plant, run_id: str) -> tuple[float, list[float], float, float]:
    """Seconds of the join, milliseconds of events, KB of the API a reader, and the own share of a core."""
    readers = load.Readers(plant.server)
    memory, own, start = plant.memory("api"), load.cpu(), time.perf_counter()
    await readers.join([events_of(run_id)] * READERS, keep_every=KEEP_EVERY)
    await readers.opened(JOIN_TIMEOUT)
    joined, joined_at = time.perf_counter() - start, time.time()
    await asyncio.sleep(READ_SECONDS)
    window = (joined_at, time.time())
    while any(arrived_until(one) < window[1] for one in readers.readings if one.keeps):
        if time.time() > window[1] + LAG_TIMEOUT:
            raise TimeoutError(f"of what was emitted {LAG_TIMEOUT:g} s ago, some was not read")
        await asyncio.sleep(0.1)
    share = (load.cpu() - own) / (time.perf_counter() - start)
    grown = max(0.0, plant.memory("api") - memory) * MEGA / READERS / KILO
    assert readers.open == READERS, f"{READERS - readers.open} streams have ended"
    await readers.leave()
    lags = [lag for one in readers.readings for lag in lags_of(one, since=window[0], until=window[1])]
    return joined, lags, grown, share


async def read_own_runs(plant: Plant, run_ids: Sequence[str]) -> tuple[float, list[float], float]:
    """Seconds of the join, milliseconds from each run's end to its reader, and the own share of a core.

    The worker stands still until all have joined.
    """
    readers = load.Readers(plant.server)
    own, start = load.cpu(), time.perf_counter()
    await readers.join([events_of(run_id) for run_id in run_ids], keep_every=1)
    await readers.opened(JOIN_TIMEOUT)
    joined = time.perf_counter() - start
    plant.let_worker_go()
    readings = await readers.ended(END_TIMEOUT)
    share = (load.cpu() - own) / (time.perf_counter() - start)
    query = "SELECT id::text, extract(epoch FROM completed_at)::float8 FROM runs WHERE id = ANY(%s::uuid[])"
    ends: dict[str, float] = dict(plant.database.execute(query, [list(run_ids)]).fetchall())
    arrivals = [reading.frames[-1][0] for reading in readings]
    lags = [(arrived - ends[run_id]) * MILLI for run_id, arrived in zip(run_ids, arrivals, strict=True)]
    return joined, lags, share


def idle_streams(plant: Plant, within: float) -> Iterator[Figure]:
    """10,000 streams of queued runs, and GETs beside them; the worker stands still meanwhile."""
    number = min(IDLE_STREAMS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - OTHER_FILES)
    report(f"idle_streams: {number:,} streams where nothing happens")
    assistant_id = plant.assistant(NOOP)
    found = Rounds("idle_streams")
    with plant.worker_stopped():
        run_ids = [plant.stack.create_run(assistant_id, args=["Hi"]) for _ in range(10)]
        joined = load.run(watch_idle(plant, run_ids, number, found, within * IDLE_JOIN_SHARE))
    note = "" if joined == IDLE_STREAMS else "fewer than 10,000: too few open files, or too slow a join"
    yield from found.figures(note)


async def watch_idle(
    plant: Plant, run_ids: Sequence[str], number: int, found: Rounds, join_seconds: float
) -> int:
    """Open the streams, and look at the API three times while nothing happens; how many streams there are."""
    readers = load.Readers(plant.server)
    before, start = plant.memory("api"), time.perf_counter()
    while len(readers.readings) < number and time.perf_counter() - start < join_seconds:
        batch = range(len(readers.readings), min(len(readers.readings) + JOIN_BATCH, number))
        await readers.join([events_of(run_ids[n % len(run_ids)]) for n in batch])
        await readers.opened(JOIN_TIMEOUT)
    joined = len(readers.readings)

    def goal(value: float) -> Target | None:
        return at_most(value) if joined == IDLE_STREAMS else None

    found.add(f"join of {joined:,} streams", "s", time.perf_counter() - start)
    connection = await load.Connection.open(plant.server)
    request = plant.server.request("GET", f"/api/assistant-runs/{run_ids[0]}")
    await asyncio.sleep(1)
    for _ in range(ROUNDS):
        spent, own, start = plant.cpu()["api"], load.cpu(), time.perf_counter()
        await asyncio.sleep(IDLE_SECONDS)
        took = time.perf_counter() - start
        found.add(
            "cores of the API while nothing happens",
            "",
            (plant.cpu()["api"] - spent) / took,
            target=goal(0.1),
        )
        found.add("cores of the load generator meanwhile", "", (load.cpu() - own) / took)
        answers = []
        for _ in range(GETS):
            answer = await asyncio.wait_for(connection.ask(request), START_TIMEOUT)
            answers.append(answer.seconds * MILLI)
            await asyncio.sleep(0.01)
        found.add("a GET beside them, p99", "ms", percentile(answers, 99), target=goal(50))
        memory = plant.memory("api")
        found.add("memory of the API", "MB", memory, target=goal(700))
        found.add("memory of the API a stream", "KB", (memory - before) * MEGA / KILO / joined)
    assert readers.open == joined, f"{joined - readers.open} of {joined} streams have ended"
    connection.close()
    await readers.leave()
    return joined

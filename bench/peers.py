"""Runyard beside a peer, aegra, on the same servers and in the same session: `make bench BENCH=peers`.

It installs the peer from the package index into an environment of its own, build/bench/peers. Where that
cannot be done, it says why in one line and exits with 0.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

import psycopg

from bench import load, million
from bench.__main__ import stop
from bench.figures import Figure, Rounds, at_least, in_rounds, percentile, show, write_report
from bench.load import Reading, Server, StreamReader
from bench.plant import STOP_TIMEOUT, Plant, environment, report, running_plant
from bench.scenarios import latency
from bench.scenarios.bursts import CALLERS, ECHO, MILLI, NOOP, TEXT, WARM_UP, burst_size
from cli.local.processes import child
from shared.processes.ports import LOOPBACK, free_port
from tests.support.waiting import wait_until

PEER: Final = "aegra-api==0.11.0"
LEAST_PYTHON: Final = (3, 12)
PYTHONS: Final = ("python3.12", "python3.13", "python3.14")
HOME: Final = Path("build", "bench", "peers")
REPORT: Final = Path("build", "bench", "peers.json")
DATABASE: Final = "bench_peer"
INSTALL_TIMEOUT: Final = 600.0  # seconds
START_TIMEOUT: Final = 60.0  # seconds
END_TIMEOUT: Final = 60.0  # seconds until a round's runs have ended
ROUNDS: Final = 3
ROUNDS_TIME: Final = 180.0  # seconds for all rounds of all systems
CREATE_GOAL: Final = 2.3  # times the peer's creates a second
BURST_SECONDS: Final = 3.0  # of a round, by the rate of the warm-up
SINGLE: Final = 25  # runs one after the other in a round
PAUSE: Final = 0.02  # seconds between two of these


class NotHereError(Exception):
    """The peer cannot be installed or started here."""


@dataclass(frozen=True, slots=True)
class System:
    """What is measured the same way on either side.

    Attributes:
        create: the request that creates a run.
        ended: how many of the runs created since an instant have succeeded, and when the last one did;
            instants in epoch seconds.
        follow: creates one run and follows it: milliseconds to the first event and to the end.
    """

    name: str
    server: Server
    create: bytes
    ended: Callable[[float], tuple[int, float]]
    follow: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Burst:
    """Runs created while they are worked off.

    Attributes:
        rate: creates a second.
        millis: of each request.
        end_rate: runs a second, from the first create to the last end.
    """

    rate: float
    millis: list[float]
    end_rate: float


def main() -> None:
    """Measure both, and print one table."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, default=REPORT, help="where all samples go (%(default)s)")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, stop)
    try:
        python = installed()
    except NotHereError as error:
        sys.stdout.write(f"{PEER} is not measured: {error}\n")
        return
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="runyard-")))
        plant = stack.enter_context(running_plant(directory / "stack", "--processes", "1", settings={}))
        try:
            peer = stack.enter_context(running_peer(plant, python, directory))
        except NotHereError as error:
            sys.stdout.write(f"{PEER} is not measured: {error}\n")
            return
        figures = list(measure(peer, ours(plant)))
    title = f"Runyard beside {PEER}, {os.cpu_count()} cores"
    show(title, figures)
    write_report(given.json, title, figures)


def measure(peer: System, others: Sequence[System]) -> Iterator[Figure]:
    """Measure all systems in turn, round by round, so that the machine's other work is in all of them."""
    found = {system.name: Rounds(system.name) for system in (peer, *others)}
    sizes = {
        system.name: burst_size(burst(system, WARM_UP).rate, BURST_SECONDS) for system in (peer, *others)
    }
    creates: list[float] = []

    def rounds(done: Rounds) -> None:
        for system in (peer, *others):
            report(f"peers: {system.name}")
            created = one_round(system, sizes[system.name], found[system.name])
            if system is peer:
                creates.append(created)
                beside = {}
            else:
                beside = {"limit": median(creates), "limit_target": at_least(CREATE_GOAL)}
            found[system.name].add(f"create, {CALLERS} in flight", "/s", created, **beside)
        done.add("rounds", "", 1.0)

    notes = [figure.note for figure in in_rounds(ROUNDS, "peers", rounds, within=ROUNDS_TIME)]
    for one in found.values():
        yield from one.figures(*notes)


def one_round(system: System, size: int, found: Rounds) -> float:
    """Create a burst and follow it to the end, then one run at a time; return creates a second."""
    created = burst(system, size)
    found.add("create, p50", "ms", percentile(created.millis, 50))
    found.add("create, p99", "ms", percentile(created.millis, 99))
    found.add("runs to the end, the creates included", "/s", created.end_rate)
    followed = [load.run(paused(system.follow)) for _ in range(SINGLE)]
    first, ends = zip(*followed, strict=True)
    found.add("idle: POST → first event, p50", "ms", percentile(first, 50))
    found.add("idle: POST → end, p50", "ms", percentile(ends, 50))
    return created.rate


async def paused(follow: Callable[[], Any]) -> tuple[float, float]:
    """Follow one run, and rest."""
    *_, first, end = await follow()
    await asyncio.sleep(PAUSE)
    return first, end


def burst(system: System, runs: int) -> Burst:
    """Create runs, and wait until all have succeeded."""
    start, began = time.perf_counter(), time.time()
    answers = load.run(load.in_flight(system.server, [system.create] * runs, CALLERS))
    took = time.perf_counter() - start
    refused = [answer for answer in answers if answer.status not in {200, 201}]  # OK, Created
    assert not refused, f"{len(refused)} of {runs} creates refused: {refused[0].body!r}"

    def all_ended() -> bool:
        return system.ended(began)[0] >= runs

    wait_until(all_ended, timeout=END_TIMEOUT, pause=0.02, what=f"{runs} runs of {system.name} to end")
    _, last = system.ended(began)
    return Burst(runs / took, [answer.seconds * MILLI for answer in answers], runs / (last - began))


def ours(plant: Plant) -> list[System]:
    """This project's stack, with its no-op executor and with griptape's echo."""
    systems = []
    for model in (NOOP, ECHO):
        assistant_id = plant.assistant(model)
        query = (
            "SELECT count(*), extract(epoch FROM max(completed_at))::float8 FROM runs"
            " WHERE assistant_id = %s AND status = 'SUCCEEDED' AND created_at >= to_timestamp(%s)"
        )
        create = plant.create(assistant_id, args=[TEXT])
        ended = partial(_ended, plant.database, query, assistant_id)
        follow = partial(latency.follow, plant, assistant_id)
        systems.append(System(f"runyard {model.partition('/')[0]}", plant.server, create, ended, follow))
    return systems


def _ended(database: psycopg.Connection[Any], query: str, *values: Any) -> tuple[int, float]:
    row = database.execute(query, values).fetchone()
    assert row is not None
    return row[0], row[1] or 0.0


@contextmanager
def running_peer(plant: Plant, python: Path, directory: Path) -> Generator[System]:
    """Start the peer on the stack's servers, in a database of its own.

    Raises:
        NotHereError: it does not start.
    """
    superuser = million.superuser_url(plant.database_url, plant.stack.data_dir)
    with psycopg.connect(superuser, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE}")
    database_url = f"{superuser.rpartition('/')[0]}/{DATABASE}"
    shutil.copy(Path(__file__).with_name("echo_graph.py"), directory)
    configuration = directory / "aegra.json"
    configuration.write_text(json.dumps({"graphs": {"echo": "./echo_graph.py:graph"}}))
    port = free_port()
    variables = {
        **environment(plant.llm),
        "DATABASE_URL": database_url,
        "REDIS_URL": plant.stack.redis_admin_url,
        "REDIS_BROKER_ENABLED": "true",
        "AEGRA_CONFIG": str(configuration),
        "AUTH_TYPE": "noop",
        "LOG_LEVEL": "WARNING",
        "ENV_MODE": "PRODUCTION",
        "SERVER_URL": f"http://{LOOPBACK}:{port}",
        "PYTHONPATH": "",
    }
    log = directory / "peer.log"
    arguments = ["-m", "uvicorn", "aegra_api.main:app", "--host", LOOPBACK, "--port", str(port)]
    command = [str(python), *arguments, "--log-level", "warning", "--no-access-log"]
    with ExitStack() as stack:
        process = child.spawn(child.Command(command, log, variables, directory=directory))
        stack.callback(child.stop, process, ((signal.SIGTERM, STOP_TIMEOUT),))
        server = Server(LOOPBACK, port, "none")
        await_health(server, process, log)
        database = stack.enter_context(psycopg.connect(database_url, autocommit=True))
        fields = {"assistant_id": "echo", "input": {"text": TEXT}, "on_completion": "keep"}
        query = (
            "SELECT count(*), extract(epoch FROM max(updated_at))::float8 FROM runs"
            " WHERE status = 'success' AND created_at >= to_timestamp(%s)"
        )
        yield System(
            PEER,
            server,
            server.request("POST", "/runs", fields),
            partial(_ended, database, query),
            partial(stream_one, server, server.request("POST", "/runs/stream", fields)),
        )


def await_health(server: Server, process: child.Process, log: Path) -> None:
    """Wait until the peer answers.

    Raises:
        NotHereError: it has ended, or does not answer in time.
    """

    def answers() -> bool:
        if process.poll() is not None:
            raise NotHereError(f"it ended with {child.describe_exit(process)}: {child.tail(log, lines=1)}")
        with suppress(OSError, EOFError):
            requests = [server.request("GET", "/health")]
            return load.run(load.in_flight(server, requests, 1))[0].status == 200  # OK
        return False

    try:
        wait_until(answers, timeout=START_TIMEOUT, pause=0.2, what="the peer to answer")
    except TimeoutError as error:
        raise NotHereError(f"{error}: {child.tail(log, lines=1)}") from error


async def stream_one(server: Server, request: bytes) -> tuple[float, float]:
    """Create a run whose answer is its stream: milliseconds to the first event and to the end."""
    loop = asyncio.get_running_loop()
    reading = Reading(keeps=True)
    ended: asyncio.Future[Reading] = loop.create_future()
    start = time.time()
    await loop.create_connection(partial(StreamReader, request, reading, ended), server.host, server.port)
    await asyncio.wait_for(ended, END_TIMEOUT)
    arrivals = [moment for moment, _ in reading.frames]
    assert arrivals, f"the stream was answered {reading.status}, without an event"
    return (arrivals[0] - start) * MILLI, (arrivals[-1] - start) * MILLI


def installed() -> Path:
    """The interpreter of an environment with the peer, made now if there is none.

    Raises:
        NotHereError: it cannot be made.
    """
    python = HOME.resolve() / "bin" / "python"
    mark = HOME / "installed"
    if mark.exists() and mark.read_text() == PEER:
        return python
    base = find_python()
    report(f"peers: installing {PEER} into {HOME}")
    shutil.rmtree(HOME, ignore_errors=True)
    for command in ([str(base), "-m", "venv", str(HOME)], [str(python), "-m", "pip", "install", "-q", PEER]):
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_TIMEOUT)
        except subprocess.TimeoutExpired as error:
            raise NotHereError(f"not installed within {INSTALL_TIMEOUT:.0f} s") from error
        except subprocess.CalledProcessError as error:
            reason = (error.stderr.strip() or error.stdout.strip() or "no reason given").splitlines()[-1]
            raise NotHereError(f"it cannot be installed: {reason}") from error
    mark.write_text(PEER)
    return python


def find_python() -> Path:
    """An interpreter that the peer supports.

    Raises:
        NotHereError: there is none.
    """
    if sys.version_info >= LEAST_PYTHON:
        return Path(sys.executable)
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    candidates = [shutil.which(name) for name in PYTHONS]
    candidates += [str(path) for name in PYTHONS for path in sorted(versions.glob(f"*/bin/{name}"))]
    for candidate in filter(None, candidates):
        code = "import sys; print(*sys.version_info[:2])"
        told = subprocess.run([candidate, "-c", code], check=False, capture_output=True, text=True)
        if told.returncode == 0 and tuple(map(int, told.stdout.split())) >= LEAST_PYTHON:
            return Path(candidate)
    wanted = ".".join(map(str, LEAST_PYTHON))
    raise NotHereError(f"it needs Python {wanted}, and none was found")


if __name__ == "__main__":
    main()

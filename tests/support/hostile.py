"""The hostile tenant's hour: a tenant and a stranger do all they can, while another tenant works.

By hand, for longer: `python -m tests.support.hostile --minutes 10`. Only loopback is spoken to; every
attacker is one thread, bounded in what it sends at once, and stops when the time is over. They share a
process of their own, so that the other tenant is measured by one that does nothing else.
"""

import argparse
import itertools
import json
import multiprocessing
import secrets
import socket
import statistics
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx2
import psutil

from tests.support.stack import RUNYARD, TERMINAL, Stack, environment, running_stack
from tests.support.waiting import wait_until

SLOTS: Final = 20  # of the worker
FLOOR: Final = 0.050  # seconds: a quiet p99 below it counts as this much, since noise is not harm
TIMES: Final = 3  # how much slower than that the other tenant may get
MEMORY: Final = 400 * 1024 * 1024  # bytes of the API, shared pages by their part
PACE: Final = 0.2  # seconds between two turns of the working tenant
PATIENCE: Final = 60.0  # seconds in which some run or other has to end, once nobody attacks any more
BIG: Final = "x" * 900_000  # below the limit of a body
COSTLY: Final = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}"

Attack = Callable[["Scene"], None]


@dataclass
class Scene:
    """Who attacks whom, until when."""

    api_url: str
    hostile_key: str
    until: float  # monotonic seconds
    runs: list[str] = field(default_factory=list)  # of the hostile tenant, by their paths

    @property
    def goes_on(self) -> bool:
        return time.monotonic() < self.until

    @property
    def address(self) -> tuple[str, int]:
        url = urlsplit(self.api_url)
        assert url.hostname in {"127.0.0.1", "localhost"}, "only loopback is attacked"
        return url.hostname, url.port or 80

    def client(self, key: str | None = None) -> httpx2.Client:
        """A client of the hostile tenant, or with another key."""
        headers = {"Authorization": f"Bearer {key or self.hostile_key}"}
        return httpx2.Client(base_url=self.api_url, headers=headers, timeout=10, trust_env=False)


@dataclass(frozen=True)
class Outcome:
    """What the other tenant has felt, and what is left."""

    quiet: Sequence[float]  # seconds of each turn before
    attacked: Sequence[float]  # and during
    refused: Sequence[str]  # answers to the working tenant that it should not have got
    memory: int  # the most bytes the API had
    lost: Sequence[str]  # runs of whomever that have not ended
    doctor: int  # its exit code
    doctor_said: str

    @property
    def allowed(self) -> float:
        """Seconds that the p99 may be under attack."""
        return TIMES * max(FLOOR, p99(self.quiet))


def p99(samples: Sequence[float]) -> float:
    return statistics.quantiles(samples, n=100, method="inclusive")[98]


# What a stranger does, who has no key.


def flood_headers(scene: Scene) -> None:
    """Send headers that do not end, up to 20 MB on a connection."""
    while scene.goes_on:
        with suppress(OSError), socket.create_connection(scene.address, timeout=5) as connection:
            connection.sendall(b"GET /api/threads HTTP/1.1\r\nHost: x\r\n")
            for number in range(2_000):
                connection.sendall(b"X-%d: %s\r\n" % (number, b"y" * 10_000))


def say_nothing(scene: Scene) -> None:
    """Hold 200 connections that say nothing, or half a word."""
    while scene.goes_on:
        with ExitStack() as held:
            for number in range(200):
                with suppress(OSError):
                    connection = held.enter_context(socket.create_connection(scene.address, timeout=5))
                    connection.sendall(b"GET / HT" if number % 2 else b"")
            pause(scene, 5)


def guess_keys(scene: Scene) -> None:
    """Send keys that are none, each another one."""
    with scene.client() as client:
        while scene.goes_on:
            with suppress(httpx2.TransportError):
                key = f"ry_{secrets.token_urlsafe(32)}"
                client.get("/api/threads", headers={"Authorization": f"Bearer {key}"})


# What a tenant does.


def write_to_one_run(scene: Scene) -> None:
    """Report big events to one run of one's own, 20 at once, and read them all, slowly, too."""
    with scene.client() as client, ThreadPoolExecutor(20) as pool:
        structure = client.post("/api/structures", json={"name": "hostile"}).json()["structure_id"]
        made = client.post(f"/api/structures/{structure}/runs", json={"execution": "external"}).json()
        run = f"/api/structure-runs/{made['structure_run_id']}"

        def report(_number: int) -> None:
            event = {"type": "Big", "payload": {"id": uuid.uuid4().hex, "text": BIG}}
            with suppress(httpx2.TransportError):
                client.post(f"{run}/events", json=event)

        for _ in range(5):  # 90 MB in all
            if scene.goes_on:
                list(pool.map(report, range(20)))
        readers = [pool.submit(read_slowly, scene, f"{run}/events/stream") for _ in range(6)]
        while scene.goes_on:
            with suppress(httpx2.TransportError):
                client.get(f"{run}/events")
        for reader in readers:
            reader.result()
        wait_until(lambda: client.post(f"{run}/cancel").status_code == 200, timeout=PATIENCE, pause=1)


def read_slowly(scene: Scene, path: str) -> None:
    """Ask for a stream, and take a kilobyte of it each second."""
    host, port = scene.address
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {scene.hostile_key}\r\n\r\n"
    with suppress(OSError), socket.create_connection((host, port), timeout=5) as connection:
        connection.sendall(request.encode())
        while scene.goes_on and connection.recv(1024):
            pause(scene, 1)


def submit_costly(scene: Scene) -> None:
    """Submit bursts of runs: costly templates, long threads of one's own; 40 at once, 400 in all."""
    with scene.client() as client, ThreadPoolExecutor(40) as pool:
        assistant = client.post("/api/assistants", json={"name": "hostile"}).json()["assistant_id"]
        exchanges = [{"input": "a" * 100, "output": "b" * 100}] * 500
        thread = client.post("/api/threads", json={"name": "long", "messages": exchanges}).json()

        def submit(number: int) -> None:
            body: dict[str, object] = {"input": COSTLY, "args": ["x"], "max_duration": 20}
            if number % 4 == 0:
                body |= {"input": "x", "thread_id": thread.get("thread_id")}
            with suppress(httpx2.TransportError):
                answer = client.post(f"/api/assistants/{assistant}/runs", json=body)
                if answer.status_code == 201:
                    scene.runs.append(answer.json()["assistant_run_id"])

        for _ in range(10):
            if scene.goes_on:
                list(pool.map(submit, range(40)))
                pause(scene, 2)


def list_everything(scene: Scene) -> None:
    """Ask for long lists, 30 at once."""

    def ask(client: httpx2.Client) -> None:
        while scene.goes_on:
            with suppress(httpx2.TransportError):
                client.get("/api/threads", params={"page_size": 100})

    with scene.client() as client, ThreadPoolExecutor(30) as pool:
        list(pool.map(ask, [client] * 30))


ATTACKS: Final[Sequence[Attack]] = (
    flood_headers,
    say_nothing,
    guess_keys,
    write_to_one_run,
    submit_costly,
    list_everything,
)


def pause(scene: Scene, seconds: float) -> None:
    """Wait, but not beyond the end."""
    time.sleep(max(0.0, min(seconds, scene.until - time.monotonic())))


def assault(scene: Scene) -> Sequence[str]:
    """Attack with all there is until the time is over; return the runs that came of it."""
    with ThreadPoolExecutor(len(ATTACKS)) as pool:
        for attacker in [pool.submit(one, scene) for one in ATTACKS]:
            attacker.result()
    return scene.runs


# What the other tenant does meanwhile.


class Worker:
    """The other tenant: creates a run, reads it, and reads its stream to the end, at a pace of its own."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._assistant = stack.create_assistant()
        self.runs: list[str] = []
        self.refused: list[str] = []

    def work(self, until: float) -> list[float]:
        """Work until an instant; return the seconds that each turn has taken, at least two of them."""
        taken: list[float] = []
        while time.monotonic() < until or len(taken) < 2:
            started = time.monotonic()
            try:
                self._turn()
            except (AssertionError, httpx2.HTTPError) as error:
                self.refused.append(f"{type(error).__name__}: {error}")
            taken.append(time.monotonic() - started)
            time.sleep(max(0.0, PACE - taken[-1]))
        return taken

    def _turn(self) -> None:
        run = self._stack.create_run(self._assistant, args=["work"])
        self.runs.append(run)
        self._stack.run(run)
        for _ in self._stack.frames(run):
            pass


def watch_memory(stack: Stack, over: threading.Event) -> Iterator[int]:
    """The bytes of the API process, again and again until it is over."""
    process = psutil.Process(stack.file["pids"]["api"])
    while not over.wait(0.5):
        family = [process, *process.children(recursive=True)]
        yield sum(one.memory_full_info().pss for one in family)


def attacked_stack(root: Path) -> AbstractContextManager[Stack]:
    """A stack as the operator of several tenants sets it up: one has a quarter of the worker at the most."""
    env = environment(RUNYARD_RUNNING_SHARE=str(SLOTS // 4))
    return running_stack(root, "--concurrency", str(SLOTS), env=env)


def attack(stack: Stack, *, seconds: float) -> Outcome:
    """Measure the quiet tenant, attack for so long, let everything end, and look at what is left."""
    made = run_command(stack, "keys", "create", "--org", "hostile", "--email", "a@hostile.example")
    hostile_key = next(word for word in made.stdout.split() if word.startswith("ry_"))
    tenant, over = Worker(stack), threading.Event()
    quiet = tenant.work(time.monotonic() + max(5.0, seconds / 4))
    scene = Scene(stack.file["api_url"], hostile_key, time.monotonic() + seconds)
    apart = multiprocessing.get_context("spawn")
    with ThreadPoolExecutor(1) as pool, ProcessPoolExecutor(1, mp_context=apart) as attackers:
        memory = pool.submit(lambda: max(itertools.chain([0], watch_memory(stack, over))))
        runs = attackers.submit(assault, scene)
        try:
            attacked = tenant.work(scene.until)
            scene.runs.extend(runs.result())
        finally:
            over.set()
    lost = [*left_over(scene, scene.runs, hostile_key), *left_over(scene, tenant.runs, stack.file["api_key"])]
    doctor = run_command(stack, "doctor", check=False)
    said = doctor.stdout + doctor.stderr
    return Outcome(quiet, attacked, tenant.refused, memory.result(), lost, doctor.returncode, said)


def left_over(scene: Scene, runs: Sequence[str], key: str) -> list[str]:
    """Those runs that do not end, though nobody attacks any more: none has, for as long as `PATIENCE`."""
    left = set(runs)
    with scene.client(key) as client:

        def some_have_ended() -> bool:
            ended = {
                run
                for run in left
                if client.get(f"/api/assistant-runs/{run}").json().get("status") in TERMINAL
            }
            left.difference_update(ended)
            return bool(ended)

        with suppress(TimeoutError):
            while left:
                wait_until(some_have_ended, timeout=PATIENCE, pause=1)
    return sorted(left)


def run_command(stack: Stack, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run `runyard` against the stack."""
    command = [str(RUNYARD), *arguments, "--data-dir", str(stack.data_dir)]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, check=check, timeout=60)


def main() -> None:
    """Attack a new stack for some minutes, and print what came of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory(prefix="runyard-") as directory:
        root = Path(directory)
        with attacked_stack(root) as stack:
            outcome = attack(stack, seconds=60 * minutes)
    shown = {
        "quiet_p99_ms": round(1000 * p99(outcome.quiet)),
        "attacked_p99_ms": round(1000 * p99(outcome.attacked)),
        "allowed_ms": round(1000 * outcome.allowed),
        "refused": len(outcome.refused),
        "api_mb": outcome.memory // 1024**2,
        "lost": len(outcome.lost),
        "doctor": outcome.doctor,
    }
    print(json.dumps(shown, indent=2))  # noqa: T201  # what it is run for


if __name__ == "__main__":
    main()

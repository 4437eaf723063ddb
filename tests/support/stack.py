"""The whole product as a user starts it: `runyard dev` in a process of its own, and a client for it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx2
import psutil

from tests.support.guarding import started
from tests.support.sandboxes import sandbox_here
from tests.support.waiting import wait_until

START_PATIENCE: Final = 180.0  # seconds; two cores, and a framework to load
STOP_PATIENCE: Final = 45.0  # seconds: three times what `runyard dev` promises, on a machine however busy

RUNYARD: Final = Path(sys.executable).with_name("runyard")
"""The installed command."""

TERMINAL: Final = {"SUCCEEDED", "FAILED", "ERROR", "CANCELLED"}


class Stack:
    """A running `runyard dev`, seen from outside."""

    def __init__(self, process: subprocess.Popen[str], data_dir: Path) -> None:
        self.process = process
        self.data_dir = data_dir
        self.client = httpx2.Client(
            base_url=self.file["api_url"],
            headers={"Authorization": f"Bearer {self.file['api_key']}"},
            timeout=60,
        )

    @property
    def file(self) -> dict[str, Any]:
        """What dev.json says at the moment."""
        content: dict[str, Any] = json.loads((self.data_dir / "dev.json").read_text())
        return content

    @property
    def redis_admin_url(self) -> str:
        """Where Redis obeys everything, as its own administrator finds it."""
        address = self.file["redis_url"].rpartition("@")[2]
        password = (self.data_dir / "redis" / "password").read_text()
        return f"redis://:{password}@{address}"

    @property
    def output(self) -> str:
        """What `runyard dev` has printed."""
        return (self.data_dir.parent / "dev.out").read_text()

    def create_assistant(self, **fields: Any) -> str:
        answer = self.client.post("/api/assistants", json={"name": "test", **fields})
        assert answer.status_code == 201, answer.text
        identifier: str = answer.json()["assistant_id"]
        return identifier

    def create_run(self, assistant_id: str | None = None, **fields: Any) -> str:
        assistant_id = assistant_id or self.create_assistant()
        answer = self.client.post(f"/api/assistants/{assistant_id}/runs", json=fields)
        assert answer.status_code == 201, answer.text
        identifier: str = answer.json()["assistant_run_id"]
        return identifier

    def run(self, run_id: str) -> dict[str, Any]:
        answer = self.client.get(f"/api/assistant-runs/{run_id}")
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def cancel(self, run_id: str) -> dict[str, Any]:
        answer = self.client.post(f"/api/assistant-runs/{run_id}/cancel")
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def wait_for(self, run_id: str, *statuses: str, timeout: float = 60) -> dict[str, Any]:
        """Wait until a run has one of these statuses, or a terminal one if none is named.

        Raises:
            AssertionError: it has ended with another status, which it keeps.
            TimeoutError: it has none of them yet.
        """
        wanted = set(statuses) or TERMINAL

        def reached() -> dict[str, Any] | None:
            run = self.run(run_id)
            if run["status"] in wanted:
                return run
            if run["status"] in TERMINAL:
                raise AssertionError(f"{run_id} is {run['status']}, not {wanted}: {run['status_detail']}")
            return None

        run = wait_until(reached, timeout=timeout, pause=0.02, what=f"{run_id} to be {wanted}")
        assert run is not None
        return run

    def frames(self, run_id: str, *, after: int | None = None) -> Iterator[bytes]:
        """The frames of a run's event stream, each whole, until the server closes it."""
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        path = f"/api/assistant-runs/{run_id}/events/stream"
        with self.client.stream("GET", path, headers=headers) as answer:
            assert answer.status_code == 200
            buffer = b""
            for piece in answer.iter_raw():
                buffer += piece
                while (end := buffer.find(b"\n\n")) >= 0:
                    frame, buffer = buffer[: end + 2], buffer[end + 2 :]
                    if not frame.startswith(b":"):
                        yield frame

    def flower(self, method: str, path: str) -> httpx2.Response:
        """Flower's answer to a request."""
        url = httpx2.URL(self.file["flower_url"])
        base = str(url.copy_with(userinfo=b"")).rstrip("/")
        return httpx2.request(method, f"{base}{path}", auth=(url.username, url.password), timeout=30)

    @property
    def logs(self) -> str:
        """What all its services have logged."""
        return "".join(path.read_text() for path in sorted((self.data_dir / "logs").glob("*.log")))

    def children(self, name: str) -> list[psutil.Process]:
        """The processes below the one that dev.json names `name`."""
        return psutil.Process(self.file["pids"][name]).children(recursive=True)


def event_of(frame: bytes) -> dict[str, Any]:
    """The event in a frame."""
    (data,) = [line for line in frame.splitlines() if line.startswith(b"data:")]
    event: dict[str, Any] = json.loads(data[5:])
    return event


def environment(**overrides: str) -> dict[str, str]:
    """The environment of a new user, with settings that make losses quick to see.

    A lease outlasts what a busy machine may keep a worker waiting for; stacks that are to be broken say less.
    """
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("RUNYARD_", "OPENAI_"))
    }
    return {
        **clean,
        "RUNYARD_LEASE_TTL": "8",
        "RUNYARD_HEARTBEAT": "1",
        "RUNYARD_RECONCILE_INTERVAL": "1",
        "RUNYARD_REPUBLISH_AFTER": "2",
        "RUNYARD_CANCEL_GRACE": "2",
        "RUNYARD_STRUCTURE_SANDBOX": sandbox_here(),
        **overrides,
    }


@contextmanager
def running_stack(root: Path, *options: str, env: Mapping[str, str]) -> Generator[Stack]:
    """Start `runyard dev`, and stop it as Ctrl-C does."""
    root.mkdir(parents=True, exist_ok=True)
    data_dir = root / "data"
    command = [str(RUNYARD), "dev", "--port", "0", "--data-dir", str(data_dir)]
    with (root / "dev.out").open("w") as output:
        process = started(
            [*command, *options],
            at_loss=signal.SIGINT,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(env),
            text=True,
            start_new_session=True,
        )
    try:
        wait_until(
            lambda: (data_dir / "dev.json").exists() or process.poll() is not None,
            timeout=START_PATIENCE,
            what="runyard dev to be ready",
        )
        assert process.poll() is None, (root / "dev.out").read_text()
        stack = Stack(process, data_dir)
        try:
            yield stack
        finally:
            stack.client.close()
    finally:
        stop(process)


def stop(process: subprocess.Popen[str]) -> None:
    """Interrupt `runyard dev`, and see that it and all below it end in time."""
    if process.poll() is not None:
        return
    below = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_PATIENCE)
    finally:
        _, alive = psutil.wait_procs(below, timeout=10)
        for straggler in [*alive, process]:
            straggler.kill()
    assert not alive, f"left behind: {alive}"

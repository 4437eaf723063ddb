"""An installation on the embedded servers, started by the commands that deploy/ gives to the image."""

import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import httpx2
import psutil
import yaml

from shared.processes.ports import LOOPBACK, free_port
from shared.settings import RENAMED
from tests.support.checkout import ROOT
from tests.support.faults import kill
from tests.support.guarding import started
from tests.support.kustomize import build, containers
from tests.support.sandboxes import sandbox_here
from tests.support.waiting import wait_until

BIN: Final = Path(sys.executable).parent
START_TIMEOUT: Final = 90.0  # seconds; a loaded machine is slow
STOP_TIMEOUT: Final = 60.0  # seconds
HEALTH_INTERVAL: Final = 1.0  # seconds; a check is a process of its own

SECRETS: Final = {
    "POSTGRES_PASSWORD": "secret",
    "POSTGRES_OWNER_PASSWORD": "secret",
    "POSTGRES_APP_PASSWORD": "secret",
    "REDIS_PASSWORD": "secret",
    "RUNYARD_FLOWER_BASIC_AUTH": "operator:secret",
    "RUNYARD_METRICS_TOKEN": "a-token-of-the-scraper",
    "GRAFANA_PASSWORD": "secret",
}
"""What an operator writes into deploy/.env."""

QUICK: Final = {
    "RUNYARD_LEASE_TTL": "12",
    "RUNYARD_HEARTBEAT": "0.5",
    "RUNYARD_RECONCILE_INTERVAL": "0.5",
    "RUNYARD_REPUBLISH_AFTER": "2",
    "RUNYARD_CANCEL_GRACE": "2",
    "RUNYARD_DRAIN_GRACE": "3",
}
"""Settings that make losses quick to see, as deploy/.env may have them."""


def compose(secrets: Mapping[str, str] = SECRETS, *, root: Path = ROOT) -> dict[str, Any]:
    """deploy/compose.yaml, with its variables replaced as Docker does.

    Raises:
        KeyError: a variable that it demands is missing or empty.
    """
    text = (root / "deploy" / "compose.yaml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    replaced: dict[str, Any] = _replaced(loaded, secrets)
    return replaced


def _replaced(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _replaced(one, variables) for name, one in value.items()}
    if isinstance(value, list):
        return [_replaced(one, variables) for one in value]
    if not isinstance(value, str):
        return value

    def variable(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        name, kind, rest = match[1], match[2], match[3]
        if kind == ":?" and not variables.get(name):
            raise KeyError(f"{name}: {rest}")
        return variables.get(name) or (rest if kind == ":-" else "")

    return re.sub(r"\$\$|\$\{(\w+)(?:(:[-?])([^}]*))?\}", variable, value)


class Started:
    """A running process of the image."""

    def __init__(self, process: subprocess.Popen[bytes], log_path: Path) -> None:
        self.process = process
        self._log_path = log_path

    @property
    def log(self) -> str:
        return self._log_path.read_text(encoding="utf-8")

    def stop(self) -> int:
        """Stop it as Docker and Kubernetes do; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_TIMEOUT)


class Installation:
    """The image's processes, on a database and a Redis of their own.

    Only what this machine decides differs from the files: addresses, ports, the directory of structures.

    Args:
        root: the files and the code of another release.
        settings: what differs from the compose file for all processes.
    """

    def __init__(
        self,
        directory: Path,
        *,
        database_url: str,
        migration_url: str,
        redis_url: str,
        structures: Path,
        root: Path = ROOT,
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._directory = directory
        self._root = root
        self._services: dict[str, Any] = compose(root=root)["services"]
        self.api_port, self.flower_port = free_port(), free_port()
        self.metrics_ports = {name: free_port() for name in self._services}
        self.database_url = database_url
        self._ours = {
            "RUNYARD_DATABASE_URL": database_url,
            "RUNYARD_REDIS_URL": redis_url,
            "RUNYARD_API_HOST": LOOPBACK,
            "RUNYARD_API_PORT": str(self.api_port),
            "RUNYARD_METRICS_HOST": LOOPBACK,
            "RUNYARD_FLOWER_HOST": LOOPBACK,
            "RUNYARD_FLOWER_PORT": str(self.flower_port),
            "RUNYARD_STRUCTURE_API_URL": f"http://{LOOPBACK}:{self.api_port}",
        }
        self._migration_url = migration_url
        self._structures = structures
        self._settings = settings

    def of_release(self, root: Path) -> "Installation":
        """The processes of another release, on the same servers."""
        directory = self._directory / root.name
        directory.mkdir()
        return Installation(
            directory,
            database_url=self.database_url,
            migration_url=self._migration_url,
            redis_url=self._ours["RUNYARD_REDIS_URL"],
            structures=self._structures,
            root=root,
            settings=self._settings,
        )

    def environment(self, service: str, **additions: str) -> dict[str, str]:
        """The whole environment of a service of the compose file."""
        given = {
            name: str(value)
            for name, value in self._services[service]["environment"].items()
            if value is not None
        }
        ours = {
            **self._ours,
            "RUNYARD_METRICS_PORT": str(self.metrics_ports[service]),
            "RUNYARD_HEALTH_DIR": str(self._directory / f"{service} health"),  # a container has its own
        }
        if service == "migrate":
            ours["RUNYARD_MIGRATION_DATABASE_URL"] = self._migration_url
        if service == "structures":
            ours["RUNYARD_STRUCTURES_DIR"] = str(self._structures)
            ours["RUNYARD_STRUCTURE_SANDBOX"] = sandbox_here()
        basic = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
        wanted = {**given, **QUICK, **ours, **self._settings, **additions}
        if self._root == ROOT:
            return {**basic, **wanted}
        former = {
            old: wanted[new] for old, new in RENAMED.items() if new in wanted
        }  # releases ignore others'
        # Its code comes before the checkout, which is in the environment's packages.
        return {**basic, **wanted, **former, "PYTHONPATH": str(self._root)}

    def command(self, service: str) -> list[str]:
        """The command of a service: the image's entrypoint and the service's arguments."""
        dockerfile = (self._root / "deploy" / "Dockerfile").read_text(encoding="utf-8")
        entrypoint = json.loads(re.findall(r"^ENTRYPOINT (.+)$", dockerfile, re.MULTILINE)[-1])
        return [*entrypoint, *self._services[service]["command"]]

    def run(self, *arguments: str, service: str = "api") -> subprocess.CompletedProcess[str]:
        """Run a command to its end, as `docker compose exec <service>` does."""
        program, *rest = arguments
        return subprocess.run(
            [*self._program(program), *rest],
            env=self.environment(service),
            cwd=self._directory,
            check=False,
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT,
        )

    def health(self, service: str) -> subprocess.CompletedProcess[str]:
        """Run the health check of a service, at the ports that it has here."""
        kind, *check = self._services[service]["healthcheck"]["test"]
        assert kind == "CMD"
        ports = {"127.0.0.1:8000": self.api_port, "127.0.0.1:5555": self.flower_port}
        for usual, port in ports.items():
            check = [word.replace(usual, f"{LOOPBACK}:{port}") for word in check]
        return self.run(*check, service=service)

    @contextmanager
    def started(
        self, service: str, *prefix: str, command: list[str] | None = None, **environment: str
    ) -> Generator[Started]:
        """Start a service; kill whatever is left of it in the end.

        Args:
            prefix: a command that executes the service's.
            command: another one than the compose file's.
        """
        program, *rest = command or self.command(service)
        count = sum(1 for _ in self._directory.glob(f"{service}*.log"))
        log_path = self._directory / f"{service}-{count}.log"
        with log_path.open("wb") as log:
            process = started(
                [*prefix, *self._program(program), *rest],
                env=self.environment(service, **environment),
                cwd=self._directory,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield Started(process, log_path)
        finally:
            if process.poll() is None:
                parent = psutil.Process(process.pid)
                kill(parent, *parent.children(recursive=True))
                process.wait(STOP_TIMEOUT)

    def wait_healthy(self, service: str, started: Started) -> None:
        """Wait until the health check of a service passes."""
        said = ""

        def is_healthy() -> bool:
            nonlocal said
            assert started.process.poll() is None, started.log
            check = self.health(service)
            said = check.stderr
            return check.returncode == 0

        try:
            wait_until(
                is_healthy, timeout=START_TIMEOUT, pause=HEALTH_INTERVAL, what=f"{service} to be healthy"
            )
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{said}\n{started.log[-2_000:]}") from error

    def _program(self, name: str) -> list[str]:
        """The command of a program of the image: that of our environment, with the release's code."""
        if name != "runyard" or self._root == ROOT:
            return [str(BIN / name)]
        scripts = tomllib.loads((self._root / "pyproject.toml").read_text(encoding="utf-8"))["project"][
            "scripts"
        ]
        module, _, function = scripts[name].partition(":")
        return [str(BIN / "python"), "-P", "-c", f"from {module} import {function} as run; run()"]

    def client(self) -> httpx2.Client:
        """A client with a new key, made by the command that the compose file names."""
        made = self.run("runyard", "keys", "create")
        assert made.returncode == 0, made.stderr
        key = made.stdout.split()[-1]
        return httpx2.Client(
            base_url=f"http://{LOOPBACK}:{self.api_port}",
            headers={"Authorization": f"Bearer {key}"},
            timeout=30,
        )


def kubernetes_command(name: str) -> list[str]:
    """The command of a pod: the image's entrypoint and the arguments in deploy/kubernetes."""
    (found,) = [
        container
        for resource in build(ROOT / "deploy" / "kubernetes" / "base")
        for container in containers(resource)
        if container["name"] == name
    ]
    return ["runyard", *found["args"]]

"""A Prometheus that scrapes a stack each second, with the rules of deploy/ in quick motion."""

import json
import re
import shutil
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
import yaml

from shared.processes.ports import free_port
from tests.support.checkout import ROOT
from tests.support.guarding import started
from tests.support.waiting import wait_until

RULES: Final = ROOT / "deploy" / "prometheus" / "rules.yaml"
DASHBOARD: Final = ROOT / "deploy" / "grafana" / "dashboard.json"
START_PATIENCE: Final = 60.0  # seconds
WINDOW: Final = "30s"
"""What stands for every range of a rule or a query: what happened before it is forgotten."""

is_installed: Final = shutil.which("prometheus") is not None


def quickly(expression: str) -> str:
    """An expression that looks back for `WINDOW` instead of minutes or days."""
    return re.sub(r"\[[^]:]+(:[^]]+)?\]", lambda found: f"[{WINDOW}{':1s' if found[1] else ''}]", expression)


def rules() -> list[dict[str, Any]]:
    """The alerts, with ranges and patience of seconds."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [
        {**rule, "expr": quickly(rule["expr"]), "for": "1s"} for group in groups for rule in group["rules"]
    ]


def panel_queries() -> list[str]:
    """Every query of the dashboard."""
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return [quickly(target["expr"]) for panel in panels for target in panel.get("targets", ())]


class Prometheus:
    """A running Prometheus."""

    def __init__(self, url: str) -> None:
        self._client = httpx2.Client(base_url=url, timeout=30, trust_env=False)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The result of a query, as a vector.

        Raises:
            AssertionError: Prometheus refuses it.
        """
        answer = self._client.get("/api/v1/query", params={"query": expression})
        assert answer.status_code == 200, f"{expression}: {answer.text}"
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found

    @property
    def firing(self) -> set[str]:
        """The names of the alerts that fire."""
        alerts = self._client.get("/api/v1/alerts").json()["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    @property
    def broken_rules(self) -> list[str]:
        """The errors of rules that could not be evaluated."""
        groups = self._client.get("/api/v1/rules").json()["data"]["groups"]
        return [rule["lastError"] for group in groups for rule in group["rules"] if rule.get("lastError")]

    @property
    def targets_up(self) -> int:
        """How many processes answer."""
        return sum(sample["value"][1] == "1" for sample in self.query("up"))

    def wait_for(self, *names: str, timeout: float) -> None:
        """Wait until alerts fire."""
        wanted = set(names)
        wait_until(lambda: wanted <= self.firing, timeout=timeout, pause=0.5, what=f"{wanted} to fire")

    def wait_for_end(self, *names: str, timeout: float) -> None:
        """Wait until alerts do not fire any more."""
        ended = set(names)
        wait_until(lambda: not ended & self.firing, timeout=timeout, pause=0.5, what=f"{ended} to end")


@contextmanager
def running_prometheus(directory: Path, urls: Sequence[str], *, token: str) -> Generator[Prometheus]:
    """Run Prometheus until the block ends; it scrapes some addresses."""
    directory.mkdir(parents=True)
    (directory / "token").write_text(token)
    own_rules = {"groups": [{"name": "runyard", "rules": rules()}]}
    (directory / "rules.yaml").write_text(json.dumps(own_rules))
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(directory / "rules.yaml")],
        "scrape_configs": [
            {
                "job_name": "runyard",
                "authorization": {"credentials_file": str(directory / "token")},
                "static_configs": [{"targets": [urlsplit(url).netloc for url in urls]}],
            }
        ],
    }
    (directory / "prometheus.yaml").write_text(json.dumps(config))
    port = free_port()
    with (directory / "log").open("wb") as log:
        process = started(
            [  # wherever it is
                "prometheus",
                f"--config.file={directory / 'prometheus.yaml'}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--log.level=warn",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    found = Prometheus(f"http://127.0.0.1:{port}")
    try:

        def is_ready() -> bool:
            assert process.poll() is None, (directory / "log").read_text()
            try:
                return found._client.get("/-/ready").status_code == 200
            except httpx2.TransportError:
                return False

        wait_until(is_ready, timeout=START_PATIENCE, pause=0.1, what="Prometheus to be ready")
        yield found
    finally:
        found._client.close()
        process.kill()
        process.wait()

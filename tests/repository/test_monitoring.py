"""The rules of Prometheus and the dashboard of Grafana are valid, and name only what there is."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.render import metrics as metrics_table
from shared.metrics.definitions import ALL
from shared.metrics.instruments import Counter, Histogram
from tests.support.checkout import ROOT
from worker.reconciler.observer import OBSERVED

DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yaml"
TESTS = [DEPLOY / "prometheus" / name for name in ("rules_test.yaml", "growth_test.yaml")]
DASHBOARD = DEPLOY / "grafana" / "dashboard.json"
NAME = re.compile(r"\brunyard_[a-z_]+")

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian's package prometheus)"
)


def promtool(*arguments: object) -> None:
    done = subprocess.run(
        ["promtool", *map(str, arguments)],  # noqa: S607  # wherever it is
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [
        panel for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"] if "targets" in panel
    ]


def queries() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def series() -> set[str]:
    """The names of all series that a scrape can have."""
    found = {*OBSERVED, "runyard_build_info"}
    for one in ALL:
        match one:
            case Counter():
                found.add(f"{one.name}_total")
            case Histogram():
                found |= {f"{one.name}_{part}" for part in ("bucket", "sum", "count")}
            case _:
                found.add(one.name)
    return found


@needs_promtool
def test_prometheus_reads_its_files():
    promtool("check", "rules", RULES)
    promtool("check", "config", "--syntax-only", DEPLOY / "prometheus" / "prometheus.yaml")


@needs_promtool
def test_each_alert_fires_for_its_fault():
    promtool("test", "rules", *TESTS)


@needs_promtool
def test_prometheus_reads_every_query_of_the_dashboard(tmp_path: Path):
    rules = [
        {"record": f"panel:{number}", "expr": query.replace("$__rate_interval", "5m")}
        for number, query in enumerate(queries())
    ]
    (tmp_path / "rules.yaml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", tmp_path / "rules.yaml")


def test_each_alert_has_a_test_a_sentence_and_a_section_in_the_manual():
    tested = {
        expected["alertname"]
        for path in TESTS
        for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]
        for expected in test["alert_rule_test"]
        if expected.get("exp_alerts")
    }
    manual = (ROOT / "docs" / "operating" / "alerts.md").read_text(encoding="utf-8")
    names = [alert["alert"] for alert in alerts()]
    assert len(set(names)) == len(names) >= 18
    assert set(names) == tested == set(re.findall(r"^## (\w+)$", manual, re.MULTILINE))
    for alert in alerts():
        assert alert["annotations"]["manual"] == f"docs/operating/alerts.md#{alert['alert'].lower()}"
        assert alert["annotations"]["summary"].endswith(".")
        assert alert["labels"]["severity"] in {"critical", "warning"}


@pytest.mark.parametrize(
    "path",
    [RULES, DASHBOARD, ROOT / "docs" / "operating" / "metrics.md", ROOT / "docs" / "operating" / "alerts.md"],
    ids=lambda path: path.name,
)
def test_no_file_names_a_metric_that_does_not_exist(path: Path):
    text = path.read_text(encoding="utf-8")
    families = {one.name for one in ALL}
    assert NAME.findall(text)
    assert set(NAME.findall(text)) - series() - families - {"runyard_metrics_token"} == set()


def test_the_manual_lists_every_metric():
    assert metrics_table() in (ROOT / "docs" / "operating" / "metrics.md").read_text(encoding="utf-8")


def test_every_metric_is_on_the_dashboard_or_in_an_alert():
    used = set(NAME.findall(RULES.read_text(encoding="utf-8") + "\n".join(queries())))
    shown = {one.name for one in ALL if any(name.startswith(one.name) for name in used)} | (
        used & {*OBSERVED}
    )
    missing = {one.name for one in ALL} | {*OBSERVED}
    assert missing - shown == {
        "runyard_dispatches",  # beside runs_submitted it says something only when it is missing
        "runyard_lease_errors",
        "runyard_reconciler_round_seconds",
        "runyard_start_latency_seconds",
    }


def test_panels_have_a_place_of_their_own():
    identifiers = [panel["id"] for panel in panels()]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels()]
    assert len(set(identifiers)) == len(identifiers)
    assert len(set(places)) == len(places)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels())


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))


def test_prometheus_finds_every_process_of_compose_that_is_measured(compose):
    services = compose["services"]
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text(encoding="utf-8"))
    (job,) = config["scrape_configs"]
    (discovery,) = job["dns_sd_configs"]
    assert set(discovery["names"]) == {"api", "worker", "structures", "reconciler"}
    for name in discovery["names"]:
        environment = services[name]["environment"]
        assert environment["RUNYARD_METRICS_PORT"] == str(discovery["port"])
        assert environment["RUNYARD_METRICS_TOKEN"].startswith("${RUNYARD_METRICS_TOKEN:?")
        assert "data" in services[name]["networks"]
    credentials = Path(job["authorization"]["credentials_file"])
    assert credentials.parent == Path("/run/secrets")
    assert credentials.name in services["prometheus"]["secrets"]
    assert compose["secrets"][credentials.name] == {"environment": "RUNYARD_METRICS_TOKEN"}


@pytest.mark.parametrize("name", ["prometheus", "grafana"])
def test_whoever_watches_is_bounded_and_seen_by_this_host_alone(compose, name):
    service = compose["services"][name]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert service["healthcheck"]["test"][1:]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    for mount in service["volumes"]:
        source = mount.split(":")[0]
        assert source in compose["volumes"] or (DEPLOY / source).exists(), mount


def test_grafana_finds_the_dashboard_and_prometheus(compose):
    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())["datasources"]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "runyard.yaml").read_text())["providers"]
    targets = [mount.split(":")[1] for mount in compose["services"]["grafana"]["volumes"]]
    assert source["url"] == "http://prometheus:9090"
    assert any(target.startswith(f"{provider['options']['path']}/") for target in targets)
    assert "/etc/grafana/provisioning" in targets

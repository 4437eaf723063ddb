"""The files in deploy/kubernetes/ are valid, complete, and agree with the code and the compose file."""

import copy
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator
from jsonschema import ValidationError as SchemaError

from cli.main import COMMANDS
from shared.metrics.definitions import BUSY_SLOTS
from shared.settings import Settings
from tests.support.checkout import ROOT
from tests.support.kustomize import KustomizeError, Resource, build
from worker.process.supervisor import STOP_MARGIN
from worker.reconciler.observer import OBSERVED

KUBERNETES: Final = ROOT / "deploy" / "kubernetes"
RULES: Final = ROOT / "deploy" / "prometheus" / "rules.yaml"
OLDEST: Final = "1.33"  # has user namespaces by default, which the pods of structures need
NEWEST: Final = "1.37"
LAYERS: Final = ("base", "production")
SERVERS: Final = {"api", "worker", "structures", "reconciler", "flower"}
SECRETS: Final = {
    "runyard-database": {"url"},
    "runyard-database-owner": {"url"},
    "runyard-redis": {"url"},
    "runyard-flower": {"basic-auth"},
    "runyard-metrics": {"token"},
    "runyard-providers": None,  # whatever variables the providers have
}

# What KEDA 2.17 and later accept of the fields used here; its own definition is of a hundred more.
SCALED_OBJECT: Final[dict[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "keda.sh/v1alpha1"},
        "kind": {"const": "ScaledObject"},
        "metadata": {"type": "object", "required": ["name"]},
        "spec": {
            "type": "object",
            "additionalProperties": False,
            "required": ["scaleTargetRef", "triggers"],
            "properties": {
                "scaleTargetRef": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["name"],
                    "properties": {name: {"type": "string"} for name in ("apiVersion", "kind", "name")},
                },
                **{
                    name: {"type": "integer", "minimum": 0}
                    for name in ("minReplicaCount", "maxReplicaCount", "pollingInterval", "cooldownPeriod")
                },
                "fallback": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["failureThreshold", "replicas"],
                    "properties": {
                        "failureThreshold": {"type": "integer"},
                        "replicas": {"type": "integer"},
                        "behavior": {
                            "enum": [
                                *("static", "currentReplicas"),
                                *("currentReplicasIfHigher", "currentReplicasIfLower"),
                            ]
                        },
                    },
                },
                "advanced": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        # `behavior` is Kubernetes' own, see `behaviors`.
                        "horizontalPodAutoscalerConfig": {
                            "type": "object",
                            "additionalProperties": False,
                            "properties": {"behavior": {"type": "object"}},
                        }
                    },
                },
                "triggers": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["type", "metadata"],
                        "properties": {
                            "type": {"const": "prometheus"},
                            "name": {"type": "string"},
                            "metricType": {"enum": ["AverageValue", "Value"]},
                            "metadata": {
                                "type": "object",
                                "additionalProperties": False,
                                "required": ["serverAddress", "query", "threshold"],
                                "properties": {
                                    "serverAddress": {"type": "string", "pattern": "^https?://"},
                                    "query": {"type": "string"},
                                    "threshold": {"type": "string", "pattern": r"^\d+(\.\d+)?$"},
                                    "ignoreNullValues": {"enum": ["true", "false"]},
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}


@pytest.fixture(scope="module")
def layers() -> dict[str, list[Resource]]:
    return {name: build(KUBERNETES / name) for name in LAYERS}


@pytest.fixture(params=LAYERS)
def layer(request: pytest.FixtureRequest, layers: dict[str, list[Resource]]) -> list[Resource]:
    return layers[request.param]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))
    return loaded


def of_kind(layer: list[Resource], kind: str) -> dict[str, Resource]:
    return {resource["metadata"]["name"]: resource for resource in layer if resource["kind"] == kind}


def component(resource: Resource) -> str:
    name: str = resource["metadata"]["labels"]["app.kubernetes.io/component"]
    return name


def pods(layer: list[Resource]) -> dict[str, dict[str, Any]]:
    """The pods' specifications by component, that of the migration included."""
    makers = [*of_kind(layer, "Deployment").values(), *of_kind(layer, "Job").values()]
    return {component(maker): maker["spec"]["template"]["spec"] for maker in makers}


def container_of(layer: list[Resource], name: str) -> dict[str, Any]:
    (container,) = pods(layer)[name]["containers"]
    assert isinstance(container, dict)
    return container


def settings_of(layer: list[Resource]) -> dict[str, str]:
    data: dict[str, str] = of_kind(layer, "ConfigMap")["runyard-settings"]["data"]
    return data


def validate(resource: Resource, version: str) -> None:
    if (
        resource["kind"] == "PodMonitor"
    ):  # the one of its kind: its fields are those that the operator documents
        (endpoint,) = resource["spec"]["podMetricsEndpoints"]
        assert set(resource["spec"]) == {"jobLabel", "selector", "podMetricsEndpoints"}
        assert set(endpoint) == {"port", "interval", "authorization"}
        return
    if resource["kind"] != "ScaledObject":
        kubernetes_validate.validate(resource, version, strict=True)
        return
    Draft202012Validator(SCALED_OBJECT).validate(resource)
    behavior = resource["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    target = {**resource["spec"]["scaleTargetRef"], "kind": "Deployment"}
    autoscaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": resource["metadata"],
        "spec": {"scaleTargetRef": target, "maxReplicas": 1, "behavior": behavior},
    }
    kubernetes_validate.validate(autoscaler, version, strict=True)


@pytest.mark.parametrize(("name", "version"), [("base", OLDEST), ("production", NEWEST)])
def test_every_resource_is_valid_for_the_oldest_and_the_newest_kubernetes(
    layers: dict[str, list[Resource]], name: str, version: str
) -> None:
    for resource in layers[name]:
        validate(resource, version)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda pod: pod.update(hostUser=False),
        lambda pod: pod["containers"][0].update(readynessProbe={}),
        lambda pod: pod["containers"][0].update(args="worker"),
        lambda pod: pod.update(terminationGracePeriodSeconds="45s"),
    ],
    ids=[
        "unknown field of the pod",
        "unknown field of the container",
        "text for a list",
        "text for a number",
    ],
)
def test_the_validator_refuses_what_kubernetes_would(layers: dict[str, list[Resource]], spoil: Any) -> None:
    deployment = copy.deepcopy(of_kind(layers["base"], "Deployment")["runyard-worker"])
    spoil(deployment["spec"]["template"]["spec"])
    with pytest.raises(SchemaError):
        validate(deployment, NEWEST)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("name", LAYERS)
def test_kustomize_builds_the_same(layers: dict[str, list[Resource]], name: str) -> None:
    command = ["kubectl", "kustomize", str(KUBERNETES / name)]
    built = subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def order(resource: Resource) -> str:
        return f"{resource['kind']} {resource['metadata']['name']}"

    assert sorted(yaml.safe_load_all(built), key=order) == sorted(layers[name], key=order)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  - scaling.yaml", "  - scaling.yaml\n  - more.yaml"),
        ("  - scaling.yaml\n", ""),
        ("name: runyard-(worker|structures)", "name: runyard-(workers|structure)"),
        ("name: runyard-reconciler", "name: runyard-reconcilers"),
        ("  - name: runyard\n", "  - name: runyards\n"),
        ("op: remove, path: /spec/replicas", "op: remove, path: /spec/replica"),
    ],
)
def test_a_kustomization_that_names_what_is_not_there_is_noticed(tmp_path: Path, old: str, new: str) -> None:
    copied = shutil.copytree(KUBERNETES, tmp_path / "kubernetes") / "production"
    file = copied / "kustomization.yaml"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(KustomizeError):
        build(copied)


def test_every_process_is_there_and_is_a_command_of_the_image(layer: list[Resource]) -> None:
    assert set(pods(layer)) == SERVERS | {"migrate"}
    for name in pods(layer):
        container = container_of(layer, name)
        assert "command" not in container  # the image's entrypoint
        assert container["args"][0] == ("worker" if name == "structures" else name)
        assert container["args"][0] in COMMANDS
        assert container["image"].partition(":")[2]


def test_a_setting_is_one_that_the_processes_read(layer: list[Resource]) -> None:
    variables = {f"RUNYARD_{name.upper()}" for name in Settings.model_fields}
    assert set(settings_of(layer)) <= variables
    for name in pods(layer):
        assert {one["name"] for one in container_of(layer, name)["env"]} <= variables
    Settings.model_validate(
        {
            "database_url": "postgresql://h/d",
            "redis_url": "redis://h",
            "metrics_token": "a-token-of-the-scraper",
            **{name.removeprefix("RUNYARD_").lower(): value for name, value in settings_of(layer).items()},
        }
    )


def test_secrets_come_by_reference_and_only_to_those_that_need_them(layer: list[Resource]) -> None:
    assert of_kind(layer, "Secret") == {}
    holders: dict[str, set[str]] = {name: set() for name in SECRETS}
    for name in pods(layer):
        container = container_of(layer, name)
        for one in container["env"]:
            if reference := one.get("valueFrom", {}).get("secretKeyRef"):
                assert {reference["key"]} <= (SECRETS[reference["name"]] or set())
                holders[reference["name"]].add(name)
            else:
                assert not re.search(r"PASSWORD|AUTH|KEY$|SECRET|TOKEN|_URL$", one["name"])
        for source in container.get("envFrom", ()):
            if reference := source.get("secretRef"):
                holders[reference["name"]].add(name)
    assert holders == {
        "runyard-database": SERVERS | {"migrate"},
        "runyard-database-owner": {"migrate"},
        "runyard-redis": SERVERS | {"migrate"},
        "runyard-flower": {"flower"},
        "runyard-metrics": SERVERS,
        "runyard-providers": {"worker"},
    }


def test_no_process_may_do_more_than_it_needs(layer: list[Resource]) -> None:
    for name, pod in pods(layer).items():
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        security = container_of(layer, name)["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"]["drop"] == ["ALL"]
        if name == "structures":  # gives each program a user; nobody on the node
            assert pod["hostUsers"] is False
        else:
            assert pod["securityContext"]["runAsNonRoot"] is True
            assert pod["securityContext"]["runAsUser"] >= 1000
            assert "add" not in security["capabilities"]


def test_programs_get_the_rights_and_the_settings_that_compose_gives_them(
    layer: list[Resource], compose: dict[str, Any]
) -> None:
    container, service = container_of(layer, "structures"), compose["services"]["structures"]
    assert container["securityContext"]["capabilities"]["add"] == service["cap_add"]
    given = {one["name"]: one["value"] for one in container["env"] if "value" in one}
    assert given.items() <= service["environment"].items()
    assert {"RUNYARD_WORKER_QUEUES", "RUNYARD_STRUCTURE_SANDBOX", "RUNYARD_STRUCTURES_DIR"} <= set(given)
    assert settings_of(layer)["RUNYARD_STRUCTURE_QUEUE"] == "structures"


def test_the_one_writable_place_is_a_bounded_temporary_directory(layer: list[Resource]) -> None:
    for name, pod in pods(layer).items():
        mounts = {mount["name"]: mount for mount in container_of(layer, name)["volumeMounts"]}
        writable = [mount["mountPath"] for mount in mounts.values() if not mount.get("readOnly")]
        assert writable == ["/tmp"]  # noqa: S108  # in the container
        (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "tmp"]
        assert volume["emptyDir"]["sizeLimit"]


def test_a_program_that_fills_the_temporary_directory_does_not_end_its_pod(layer: list[Resource]) -> None:
    """Kubernetes evicts a pod whose volume on disk exceeds its size; one in memory refuses to."""
    (volume,) = [one for one in pods(layer)["structures"]["volumes"] if one["name"] == "tmp"]
    assert volume["emptyDir"]["medium"] == "Memory"


def test_every_container_is_bounded_and_asks_for_what_it_needs(layer: list[Resource]) -> None:
    for name in pods(layer):
        resources = container_of(layer, name)["resources"]
        assert set(resources["requests"]) == {"cpu", "memory"}
        assert resources["limits"]["memory"]


def test_no_service_overwrites_a_setting(layer: list[Resource]) -> None:
    """Kubernetes would set RUNYARD_API_PORT to the address of the service `runyard-api`."""
    assert "runyard-api" in of_kind(layer, "Service")
    assert all(pod["enableServiceLinks"] is False for pod in pods(layer).values())


def test_a_worker_may_finish_its_drain(layer: list[Resource]) -> None:
    grace = {name: int(settings_of(layer)[f"RUNYARD_{name}_GRACE"]) for name in ("DRAIN", "CANCEL")}
    for name in ("worker", "structures"):
        assert pods(layer)[name]["terminationGracePeriodSeconds"] > sum(grace.values()) + STOP_MARGIN
        told = settings_of(layer)["RUNYARD_TERMINATION_GRACE"]
        assert told == str(pods(layer)[name]["terminationGracePeriodSeconds"])
        assert "lifecycle" not in container_of(layer, name)  # SIGTERM comes at once, and is the drain


def test_the_api_is_left_by_its_callers_before_it_stops(layer: list[Resource]) -> None:
    command = container_of(layer, "api")["lifecycle"]["preStop"]["exec"]["command"]
    assert command[0] == "sleep"
    assert int(command[1]) + STOP_MARGIN < pods(layer)["api"]["terminationGracePeriodSeconds"]


def test_every_server_is_probed_and_the_probes_of_workers_are_those_of_compose(
    layer: list[Resource], compose: dict[str, Any]
) -> None:
    for name in SERVERS:
        assert {"startupProbe", "livenessProbe"} <= set(container_of(layer, name))
    for name in ("worker", "structures", "reconciler"):
        container, check = container_of(layer, name), compose["services"][name]["healthcheck"]
        for probe in ("startupProbe", "livenessProbe"):
            assert ["CMD", *container[probe]["exec"]["command"]] == check["test"]
            assert f"{container[probe]['timeoutSeconds']}s" == check["timeout"]
    for name in ("api", "flower"):
        container = container_of(layer, name)
        assert container["readinessProbe"]["httpGet"]["port"] in {port["name"] for port in container["ports"]}


def test_every_service_reaches_a_port_of_its_pods(layer: list[Resource]) -> None:
    for service in of_kind(layer, "Service").values():
        container = container_of(layer, component(service))
        ports = {port["name"] for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


def test_every_selector_selects_pods(layer: list[Resource]) -> None:
    made = {
        name: maker["spec"]["template"]["metadata"]["labels"]
        for kind in ("Deployment", "Job")
        for name, maker in of_kind(layer, kind).items()
    }
    selectors = [
        *(one["spec"]["selector"] for one in of_kind(layer, "Service").values()),
        *(one["spec"]["selector"]["matchLabels"] for one in of_kind(layer, "Deployment").values()),
        *(one["spec"]["selector"]["matchLabels"] for one in of_kind(layer, "PodDisruptionBudget").values()),
        *(one["spec"]["podSelector"]["matchLabels"] for one in of_kind(layer, "NetworkPolicy").values()),
    ]
    assert len(selectors) >= 15
    for selector in selectors:
        assert any(selector.items() <= labels.items() for labels in made.values()), selector


def test_a_node_can_be_emptied_of_every_process_one_after_the_other(layer: list[Resource]) -> None:
    budgets = {component(one): one["spec"] for one in of_kind(layer, "PodDisruptionBudget").values()}
    assert set(budgets) == SERVERS - {"flower"}
    assert all(budget["maxUnavailable"] == 1 for budget in budgets.values())


def test_traffic_is_refused_unless_a_policy_allows_it(layer: list[Resource]) -> None:
    policies = of_kind(layer, "NetworkPolicy")
    nothing_else = policies.pop("runyard-nothing-else")["spec"]
    assert nothing_else == {
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "runyard"}},
        "policyTypes": ["Ingress", "Egress"],
    }
    entries = {name: rule for name, policy in policies.items() for rule in policy["spec"].get("ingress", ())}
    assert set(entries) == {"runyard-api", "runyard-flower", "runyard-metrics"}
    assert all(rule["from"] and rule["ports"] for rule in entries.values())


def test_what_is_scaled_has_no_number_of_its_own(layers: dict[str, list[Resource]]) -> None:
    layer = layers["production"]
    scaled = {
        one["spec"]["scaleTargetRef"]["name"]
        for kind in ("ScaledObject", "HorizontalPodAutoscaler")
        for one in of_kind(layer, kind).values()
    }
    assert scaled == {"runyard-api", "runyard-worker", "runyard-structures"}
    deployments = of_kind(layer, "Deployment")
    assert {name for name, one in deployments.items() if "replicas" not in one["spec"]} == scaled
    assert deployments["runyard-reconciler"]["spec"]["replicas"] == 2


def test_workers_follow_the_queues_that_they_consume(layers: dict[str, list[Resource]]) -> None:
    layer = layers["production"]
    queues = {"runyard-worker": "runs", "runyard-structures": "structures"}
    for name, scaled in of_kind(layer, "ScaledObject").items():
        asked = [trigger["metadata"]["query"] for trigger in scaled["spec"]["triggers"][:2]]
        assert all(f'queue="{queues[name]}"' in query for query in asked)
        named = {re.findall(r"runyard_\w+", query)[0] for query in asked}
        assert named == {"runyard_queue_runs", "runyard_queue_oldest_seconds"}
        assert named <= set(OBSERVED)


def test_workers_that_are_full_are_not_taken_away(layers: dict[str, list[Resource]]) -> None:
    layer = layers["production"]
    for name, scaled in of_kind(layer, "ScaledObject").items():
        _, _, busy = scaled["spec"]["triggers"]
        assert busy.get("metricType", "AverageValue") == "AverageValue"
        query = busy["metadata"]["query"]
        assert query == f'sum(runyard_busy_slots{{namespace="runyard", pod=~"{name}-.+"}})'
        assert BUSY_SLOTS.name in query
        arguments = container_of(layer, name.removeprefix("runyard-"))["args"]
        processes = int(arguments[arguments.index("--processes") + 1])
        given = settings_of(layer).get("RUNYARD_CONCURRENCY", Settings.model_fields["concurrency"].default)
        assert 0 < int(busy["metadata"]["threshold"]) < processes * int(given)


def test_targets_have_the_job_that_the_alerts_name(layers: dict[str, list[Resource]]) -> None:
    label = of_kind(layers["production"], "PodMonitor")["runyard"]["spec"]["jobLabel"]
    makers = [*of_kind(layers["production"], "Deployment").values()]
    jobs = {maker["spec"]["template"]["metadata"]["labels"][label] for maker in makers}
    assert jobs == set(re.findall(r'job="(\w+)"', RULES.read_text(encoding="utf-8"))) == {"runyard"}


def test_the_command_of_the_manual_wraps_the_alerts_for_the_operator(tmp_path: Path) -> None:
    manual = (ROOT / "docs" / "operating" / "kubernetes.md").read_text(encoding="utf-8")
    (command,) = [
        block
        for block in re.findall(r"^```sh\n(.*?)^```$", manual, re.MULTILINE | re.DOTALL)
        if "PrometheusRule" in block
    ]
    kubectl = tmp_path / "kubectl"
    kubectl.write_text('#!/bin/sh\ncat\necho "# $*"\n', encoding="utf-8")
    kubectl.chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    shell = ["bash", "-ec", command]
    made = subprocess.run(shell, cwd=ROOT, env=env, check=True, capture_output=True, text=True)
    rules = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    assert yaml.safe_load(made.stdout) == {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "runyard"},
        "spec": rules,
    }
    assert made.stdout.endswith("# apply --namespace runyard --filename -\n")


def test_the_manual_makes_the_namespace_before_secrets_and_files_without_a_line_end() -> None:
    manual = (ROOT / "docs" / "operating" / "kubernetes.md").read_text(encoding="utf-8")
    made = manual.index("kubectl apply --filename deploy/kubernetes/production/namespace.yaml")
    assert made < manual.index("kubectl create secret")
    for name in re.findall(r"--from-file=\w+=(\S+)", manual):
        assert re.search(
            rf'printf %s "\$\w+" >{re.escape(name)}', manual[: manual.index("kubectl create secret")]
        )


def test_prometheus_reaches_every_process_where_it_measures(layers: dict[str, list[Resource]]) -> None:
    layer = layers["production"]
    measured = {"api", "worker", "structures", "reconciler"}
    for name in measured:
        ports = {port["name"]: port["containerPort"] for port in container_of(layer, name)["ports"]}
        assert str(ports["metrics"]) == settings_of(layer)["RUNYARD_METRICS_PORT"]
    (endpoint,) = of_kind(layer, "PodMonitor")["runyard"]["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] == "metrics"
    assert endpoint["authorization"]["credentials"] == {"name": "runyard-metrics", "key": "token"}
    selector = of_kind(layer, "NetworkPolicy")["runyard-metrics"]["spec"]["podSelector"]
    (expression,) = selector["matchExpressions"]
    assert set(expression["values"]) == measured


def test_the_files_are_of_this_release() -> None:
    version = re.search(
        r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert version is not None
    for name in LAYERS:
        (image,) = yaml.safe_load((KUBERNETES / name / "kustomization.yaml").read_text(encoding="utf-8"))[
            "images"
        ]
        assert image["newTag"] == version[1]

"""The files in deploy/ are well-formed, complete, and agree with the code."""

import copy
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from cli.local.embedded import postgres, redis_user
from cli.main import COMMANDS
from shared.migrations import roles
from shared.processes.pulse import Kind
from shared.settings import RENAMED, Settings, find_unknown_variables
from tests.support.checkout import ROOT
from tests.support.installation import SECRETS
from tests.support.installation import compose as replaced

DEPLOY = ROOT / "deploy"
PROVIDERS_VARIABLE = re.compile(
    r"\b((?:OPENAI|ANTHROPIC|OLLAMA|AZURE|GOOGLE|GEMINI|COHERE|CO|AWS)_[A-Z_]*[A-Z])\b"
)
PROCESSES = {"api", "worker", "structures", "reconciler", "flower", "migrate"}
SERVED = {"api", "flower", "prometheus", "grafana"}
OTHERS = {"postgres", "redis", "prometheus", "grafana"}
SET_BY_COMPOSE = {  # the image says where to listen; compose.yaml says where to publish it
    "RUNYARD_API_HOST",
    "RUNYARD_API_PORT",
    "RUNYARD_FLOWER_HOST",
    "RUNYARD_FLOWER_PORT",
}
SECRET = re.compile(r"PASSWORD|AUTH|KEY\b|SECRET|TOKEN")
INSTRUCTIONS = {
    *("ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK"),
    *("RUN", "STOPSIGNAL", "USER", "WORKDIR"),
}

Stages = list[list[tuple[str, str]]]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture(scope="module")
def stages() -> Stages:
    """The Dockerfile's instructions, by stage; the ARG before the first FROM belongs to none."""
    text = re.sub(r"^\s*#.*\n", "", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = [line for line in re.sub(r"\\\n", " ", text).splitlines() if line.strip()]
    found: Stages = []
    for word, _, rest in (line.partition(" ") for line in lines):
        if word == "FROM":
            found.append([])
        if found:
            found[-1].append((word, rest.strip()))
    return found


def variables() -> set[str]:
    return {f"RUNYARD_{name.upper()}" for name in Settings.model_fields}


def seconds(duration: str) -> float:
    match = re.fullmatch(r"(?:\$\{\w+:-)?(\d+)\}?s", duration)
    assert match is not None, duration
    return float(match[1])


def last(stage: list[tuple[str, str]], instruction: str) -> str:
    return [rest for word, rest in stage if word == instruction][-1]


def test_compose_starts_every_process_and_the_servers_of_others(compose: dict[str, Any]):
    assert set(compose["services"]) == PROCESSES | OTHERS


def test_compose_is_valid_by_its_specification():
    parsed = PyCompose.from_yaml(yaml.safe_dump(replaced()))
    parsed.validate()
    assert set(parsed.to_spec().services) == PROCESSES | OTHERS


@pytest.mark.parametrize(
    "fault",
    [
        {"mem_limits": "1g"},
        {"mem_limit": "much"},
        {"healthcheck": {"test": ["CMD", "true"], "intervall": "3s"}},
        {"networks": ["nowhere"]},
        {"secrets": ["nothing"]},
    ],
    ids=str,
)
def test_the_specification_refuses_a_fault(fault: dict[str, Any]):
    faulty = copy.deepcopy(replaced())
    faulty["services"]["api"].update(fault)
    with pytest.raises(ValueError):  # noqa: PT011  # each with words of its own
        PyCompose.from_yaml(yaml.safe_dump(faulty)).validate()


def test_compose_demands_every_secret():
    for name in SECRETS:
        with pytest.raises(KeyError, match=name):
            replaced({**SECRETS, name: ""})


def test_prometheus_and_grafana_read_the_files_that_are_here(compose: dict[str, Any]):
    services = compose["services"]
    for name in ("prometheus", "grafana"):
        mounts = [mount.split(":") for mount in services[name]["volumes"]]
        for source, target, *_ in mounts:
            if source.startswith("./"):
                assert (DEPLOY / source).exists()
                assert target.startswith(f"/etc/{name}")
            else:
                assert source in compose["volumes"]
    (scrape,) = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())["scrape_configs"]
    (found,) = scrape["dns_sd_configs"]
    assert set(found["names"]) == {"api", "worker", "structures", "reconciler"}
    for name in (*found["names"], "prometheus"):
        assert "data" in services[name]["networks"]
    settings = services["api"]["environment"]
    assert settings["RUNYARD_METRICS_PORT"] == str(found["port"])
    assert scrape["authorization"] == {"credentials_file": "/run/secrets/runyard_metrics_token"}
    assert services["prometheus"]["secrets"] == ["runyard_metrics_token"]
    assert compose["secrets"]["runyard_metrics_token"] == {"environment": "RUNYARD_METRICS_TOKEN"}
    (source,) = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text())[
        "datasources"
    ]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/runyard.yaml").read_text())[
        "providers"
    ]
    mounted = [mount.split(":")[1] for mount in services["grafana"]["volumes"]]
    assert f"{provider['options']['path']}/runyard.json" in mounted


def test_every_process_is_a_command_of_the_image(compose: dict[str, Any]):
    for name in PROCESSES:
        command = "worker" if name == "structures" else name
        assert compose["services"][name]["command"] == [command]
        assert command in COMMANDS


def test_no_secret_has_a_default(compose: dict[str, Any]):
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    interpolations = re.findall(r"\$\{(\w+)(:?[-?+][^}]*)?\}", text)
    assert interpolations
    for name, rest in interpolations:
        assert rest.startswith(":?" if SECRET.search(name) else ":-"), name
        assert len(rest) > len(":?"), name


def test_no_environment_holds_a_secret_in_the_clear(compose: dict[str, Any]):
    for service in compose["services"].values():
        for name, value in (service.get("environment") or {}).items():
            if SECRET.search(name):
                assert value is None or value.startswith("${"), name


def test_every_setting_reaches_the_processes(compose: dict[str, Any]):
    given = set(compose["services"]["flower"]["environment"])
    assert variables() - given == SET_BY_COMPOSE
    for name in PROCESSES:
        unknown = {key for key in compose["services"][name]["environment"] if key.startswith("RUNYARD_")}
        assert unknown <= variables() | set(RENAMED)


def test_no_variable_for_compose_alone_keeps_a_command_from_starting():
    """A shell may have the variables of deploy/.env when it calls `runyard`."""
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    named = set(re.findall(r"\$\{(RUNYARD_\w+)", text))
    assert "RUNYARD_IMAGE_TAG" in named
    assert find_unknown_variables(dict.fromkeys(named, "x")) == {}


def test_old_names_of_settings_reach_the_processes_which_refuse_them(compose: dict[str, Any]):
    for name in PROCESSES:
        assert set(RENAMED) <= set(compose["services"][name]["environment"])


def test_only_workers_get_the_keys_of_model_providers(compose: dict[str, Any]):
    for name in PROCESSES - {"worker"}:
        environment = compose["services"][name]["environment"]
        assert [key for key in environment if not key.startswith("RUNYARD_")] == []


def test_the_worker_gets_every_variable_that_what_it_says_of_providers_names(compose: dict[str, Any]):
    sources = [ROOT / "worker" / "credentials.py", *(ROOT / "worker" / "executors").rglob("*.py")]
    named = {
        name for path in sources for name in PROVIDERS_VARIABLE.findall(path.read_text(encoding="utf-8"))
    }
    assert {"OPENAI_API_KEY", "AWS_DEFAULT_REGION", "GEMINI_API_KEY", "CO_API_URL"} <= named
    assert named - set(compose["services"]["worker"]["environment"]) == set()


def test_every_service_has_a_health_check_but_the_migration_that_ends(compose: dict[str, Any]):
    for name, service in compose["services"].items():
        check = service["healthcheck"]
        assert check == {"disable": True} if name == "migrate" else check["test"][1:], name


def test_the_health_checks_of_processes_are_commands_of_the_image(compose: dict[str, Any]):
    for name in PROCESSES - {"migrate"}:
        kind = "worker" if name == "structures" else name
        assert compose["services"][name]["healthcheck"]["test"] == ["CMD", "runyard", "health", kind]
        assert kind in set(Kind)
    assert "health" in COMMANDS


def test_more_of_the_api_can_be_started_with_a_range_of_ports(compose: dict[str, Any]):
    assert compose["services"]["api"]["ports"] == ["127.0.0.1:${RUNYARD_API_PORT:-8000}:8000"]
    assert "RUNYARD_API_PORT=8000-8002" in (DEPLOY / "compose.yaml").read_text(encoding="utf-8")


def test_folders_of_structures_may_be_in_a_volume(compose: dict[str, Any]):
    (mount,) = compose["services"]["structures"]["volumes"]
    assert mount == "${STRUCTURES_VOLUME:-./structures}:/structures:ro"
    assert "structures" in compose["volumes"]


def test_programs_have_a_service_of_their_own_that_gives_them_users(compose: dict[str, Any]):
    services = compose["services"]
    structures = services["structures"]
    assert structures["environment"]["RUNYARD_WORKER_QUEUES"] == "structures"
    assert structures["environment"]["RUNYARD_STRUCTURE_SANDBOX"] == "user"
    assert {"SETUID", "SETGID", "CHOWN"} <= set(structures["cap_add"])
    assert structures["cap_drop"] == ["ALL"]
    assert structures["mem_limit"]
    assert structures["pids_limit"]
    for name in PROCESSES:
        assert services[name]["environment"]["RUNYARD_STRUCTURE_QUEUE"] == "structures"
    assert services["worker"]["environment"]["RUNYARD_WORKER_QUEUES"] is None


def test_only_what_people_call_is_published_and_on_loopback_only(compose: dict[str, Any]):
    published = {
        name: service["ports"] for name, service in compose["services"].items() if "ports" in service
    }
    assert set(published) == SERVED
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_servers_are_checked_and_waited_for(compose: dict[str, Any]):
    services = compose["services"]
    for name in ("postgres", "redis", "flower"):
        assert services[name]["healthcheck"]["test"]
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in PROCESSES - {"migrate"}:
        assert services[name]["depends_on"] == {
            "migrate": {"condition": "service_completed_successfully"},
            "postgres": {"condition": "service_healthy"},
            "redis": {"condition": "service_healthy"},
        }


def test_what_ends_is_started_again_except_the_migration(compose: dict[str, Any]):
    restarts = {name: service["restart"] for name, service in compose["services"].items()}
    assert restarts.pop("migrate") == "no"
    assert set(restarts.values()) == {"unless-stopped"}


def test_a_worker_may_finish_its_drain(compose: dict[str, Any]):
    settings = Settings.model_fields
    needed = settings["drain_grace"].default + settings["cancel_grace"].default
    for name in ("worker", "structures"):
        given = compose["services"][name]["environment"]["RUNYARD_TERMINATION_GRACE"]
        assert compose["services"][name]["stop_grace_period"] == f"{given}s"
        assert seconds(f"{given}s") > needed.total_seconds() + 5


def test_redis_forgets_nothing_it_was_told(compose: dict[str, Any]):
    command = " ".join(compose["services"]["redis"]["command"])
    for option in (
        "--appendonly yes",
        "--appendfsync everysec",
        "--maxmemory-policy noeviction",
    ):
        assert option in command


def test_no_password_of_redis_is_in_an_argument_or_in_its_environment(compose: dict[str, Any]):
    redis = compose["services"]["redis"]
    assert set(redis["environment"]) == {"RUNYARD_REDIS_PREFIX"}
    assert "PASSWORD" not in " ".join([*redis["command"], *redis["healthcheck"]["test"]])
    assert redis["secrets"] == ["redis_password"]
    assert compose["secrets"]["redis_password"] == {"environment": "REDIS_PASSWORD"}


def test_redis_has_the_user_of_the_embedded_one_and_no_other():
    script = (DEPLOY / "redis.sh").read_text(encoding="utf-8")
    assert f"rules='{redis_user.RULES}'" in script
    assert re.findall(r"user (\w+ \w+)", script) == ["default off", f"{redis_user.NAME} on"]
    compile_shell(DEPLOY / "redis.sh")


def compile_shell(path: Path) -> None:
    subprocess.run(["sh", "-n", path], check=True)  # noqa: S607  # whatever shell there is


def test_no_process_has_the_superuser_s_password_and_only_migrate_the_owner_s(compose: dict[str, Any]):
    for name in PROCESSES:
        environment = compose["services"][name]["environment"]
        assert "POSTGRES_PASSWORD" not in str(environment)
        assert f"//{roles.APPLICATION}:${{POSTGRES_APP_PASSWORD" in environment["RUNYARD_DATABASE_URL"]
        owner = environment["RUNYARD_MIGRATION_DATABASE_URL"]
        assert (f"//{roles.OWNER}:${{POSTGRES_OWNER_PASSWORD" in owner) is (name == "migrate")
        assert bool(owner) is (name == "migrate")


def test_postgres_makes_the_roles_by_the_statements_of_the_embedded_one(compose: dict[str, Any]):
    mounts = [mount.split(":") for mount in compose["services"]["postgres"]["volumes"]]
    mounted = {target: (DEPLOY / source).resolve() for source, target, *_ in mounts if source[0] == "."}
    assert mounted["/etc/runyard/roles.sql"] == roles.SQL.resolve()
    script = mounted["/docker-entrypoint-initdb.d/10-roles.sh"]
    compile_shell(script)
    given = set(re.findall(r"getenv \w+ (\w+)", script.read_text(encoding="utf-8")))
    assert given == {"POSTGRES_OWNER_PASSWORD", "POSTGRES_APP_PASSWORD"}
    assert given <= set(compose["services"]["postgres"]["environment"])


def test_postgres_has_as_many_connections_as_the_embedded_one(compose: dict[str, Any]):
    service = compose["services"]["postgres"]
    assert service["command"] == ["postgres", "-c", f"max_connections={postgres.MAX_CONNECTIONS}"]
    assert service["pids_limit"] > postgres.MAX_CONNECTIONS  # each is a process
    manual = (ROOT / "docs" / "operating" / "sizing.md").read_text(encoding="utf-8")
    assert f"max_connections = {postgres.MAX_CONNECTIONS}" in manual


def test_every_service_is_bounded(compose: dict[str, Any]):
    for name, service in compose["services"].items():
        assert service["mem_limit"], name
        assert service["pids_limit"] > 0, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert all("size=" in mount for mount in service.get("tmpfs", [])), name


def test_images_of_others_are_of_one_minor_version(compose: dict[str, Any]):
    for name in OTHERS:
        assert re.fullmatch(r"[\w/]+:v?\d+\.\d+(\.\d+)?", compose["services"][name]["image"])
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"^ARG PYTHON=\d+\.\d+-slim$", dockerfile, re.MULTILINE)


def test_the_example_names_every_variable():
    text = (DEPLOY / "env.example").read_text(encoding="utf-8")
    files = ("compose.yaml",)
    compose_text = "\n".join((DEPLOY / name).read_text(encoding="utf-8") for name in files)
    named = set(re.findall(r"^(?:# )?([A-Z][A-Z_]+)=", text, re.MULTILINE))
    interpolated = set(re.findall(r"\$\{(\w+)", compose_text))
    passed_through = set(re.findall(r"^ +([A-Z_]+):$", compose_text, re.MULTILINE)) - set(RENAMED)
    assert named == variables() | interpolated | passed_through


def test_the_example_holds_no_secret():
    text = (DEPLOY / "env.example").read_text(encoding="utf-8")
    filled = re.findall(r"^(?:# )?([A-Z_]+)=.+$", text, re.MULTILINE)
    assert [name for name in filled if SECRET.search(name) and not name.endswith("_TTL")] == []


def test_the_dockerfile_holds_known_instructions_only(stages: Stages):
    assert len(stages) == 3
    assert {word for stage in stages for word, _ in stage} <= INSTRUCTIONS


def test_commands_of_the_image_are_in_exec_form(stages: Stages):
    arrays = [
        rest.partition("CMD ")[2] if word == "HEALTHCHECK" else rest
        for stage in stages
        for word, rest in stage
        if word in {"RUN", "CMD", "ENTRYPOINT", "HEALTHCHECK"}
    ]
    for array in arrays:
        words = json.loads(array)
        assert words
        assert all(isinstance(word, str) for word in words)


def test_the_image_runs_the_command_line_as_nobody_special(stages: Stages):
    final = stages[-1]
    assert json.loads(last(final, "ENTRYPOINT")) == ["runyard"]
    assert json.loads(last(final, "CMD")) == ["api"]
    assert last(final, "STOPSIGNAL") == "SIGTERM"
    assert int(last(final, "USER").partition(":")[0]) >= 1000
    assert json.loads(last(final, "HEALTHCHECK").partition("CMD ")[2]) == ["runyard", "health", "api"]


def test_what_the_image_copies_is_there(stages: Stages):
    sources = [
        source
        for stage in stages
        for word, rest in stage
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]
    allowed = re.findall(
        r"^!(.+)$", (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sorted(sources) == sorted(allowed)
    assert all((DEPLOY.parent / source).exists() for source in sources)


def test_the_image_installs_only_what_is_pinned_by_hash(stages: Stages):
    installs = [rest for stage in stages for word, rest in stage if word == "RUN" and '"install"' in rest]
    for install in installs:
        assert '"--require-hashes"' in install or '"--no-index"' in install


def test_no_secret_from_the_environment_is_for_a_read_only_service(compose: dict[str, Any]):
    """Docker Compose copies such a secret into the container, and refuses a read-only one."""
    secrets = {name for name, source in compose["secrets"].items() if "environment" in source}
    holders = [one for one in compose["services"].values() if secrets & {*one.get("secrets", ())}]
    assert holders
    assert [one for one in holders if one.get("read_only")] == []
